"""Cancel trials and surfaces from any machine that sees the store.

A worker that finds a request for its item keeps what it has committed and stops, and the queue of a
running launch offers the item no more. A request holds until its item is launched again.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable, Sequence

from orchestrator.housekeeping import lookup
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.store import Store


def cancel(store: Store, names: Sequence[str]) -> dict[str, str]:
    """Write a request to cancel each named item, or item of an experiment, that has not ended.

    Returns:
        The cancelled trials and surfaces, each with the host of its worker; empty without one.

    Raises:
        ConfigError: A name fits nothing, or everything named has ended.
    """
    ended = layout.names(store.list(layout.TRIALS)) | layout.names(store.list(layout.SURFACES))
    items = [item for item in lookup.find_items(store, names) if item not in ended]
    if not items:
        raise ConfigError("all that is named has ended", fix="nas-sweep status shows what runs")
    for item in items:
        store.put(layout.cancel(item), f"by {requester()}".encode(), durable=True)
    hosts = dict.fromkeys(items, "")
    for item in items:
        for holder in store.leases.holders(item):
            if not store.leases.expired(item, holder):
                hosts[item] = holder.host
    return hosts


def withdraw(store: Store, items: Iterable[str]) -> None:
    """Remove the requests to cancel some items, which are launched again."""
    for item in lookup.cancelled(store).intersection(items):
        store.delete(layout.cancel(item))


def requester() -> str:
    """Return who runs this process and where, for the logs of what it stops."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no entry for its user
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"
