"""Cancels trials and surfaces from anywhere that sees the store, by requests.

A worker that finds one keeps what it has committed and leaves off; the queue of a launch that runs
now offers the trial or surface no more. A request holds until what it names is launched anew.
"""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Iterable

import click

from orchestrator.housekeeping import lookup
from orchestrator.output.text import one_line
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.store import Store


def cancel(names: list[str], location: str) -> None:
    """Leaves a request for each named trial and surface that has not ended.

    Args:
        names: Of experiments, trials or surfaces.
        location: The store's folder.

    Raises:
        ConfigError: A name fits nothing, or all that is named has ended.
        StoreError: The store can't be read or written.
    """
    store = lookup.existing_store(location)
    ended = layout.names(store.list(layout.TRIALS)) | layout.names(store.list(layout.SURFACES))
    trials = [t for t in lookup.find_trials(store, names) if t not in ended]
    surfaces = [s for s in lookup.find_surfaces(store, names) if s not in ended]
    if not trials and not surfaces:
        raise ConfigError("all that is named has ended", fix="nas-sweep status shows what runs")
    for item in [*trials, *surfaces]:
        store.put(layout.cancel(item), f"by {requester()}".encode(), durable=True)
    for item in [*trials, *surfaces]:
        for holder in store.leases.holders(item):
            if not store.leases.expired(item, holder):
                click.echo(f"  {item} leaves off on {one_line(holder.host)}")
    counts = [f"{len(trials)} trials"] * bool(trials) + [f"{len(surfaces)} surfaces"] * bool(
        surfaces
    )
    click.echo(f"{' and '.join(counts)} cancelled; the next launch that owes them goes on")


def requester() -> str:
    """Return who runs this process and where, for the logs of what it stops."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container may have no entry for its user
        user = f"user {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def forget(store: Store, items: Iterable[str]) -> None:
    """Takes the requests for some trials and surfaces back: they are wanted again.

    Raises:
        StoreError: The store can't be read or written.
    """
    for item in lookup.cancelled(store).intersection(items):
        store.delete(layout.cancel(item))
