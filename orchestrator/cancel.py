"""Cancels trials from anywhere that sees the store, by requests that workers and queues look for.

A worker gives up the running epoch, commits those before it and leaves off; the queue of a launch
that runs now offers the trial no more. A request holds until the trial is launched anew.
"""

from __future__ import annotations

from collections.abc import Iterable

import click

from orchestrator import lookup
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.store import Store


def cancel(names: list[str], location: str) -> None:
    """Leaves a request for each named trial that has not ended.

    Args:
        names: Of experiments or trials.
        location: The store's folder.

    Raises:
        ConfigError: A name fits nothing, or all that is named has ended.
        StoreError: The store can't be read or written.
    """
    store = lookup.existing_store(location)
    asked = lookup.find_trials(store, names)
    ended = layout.names(store.list(layout.TRIALS))
    wanted = [trial_id for trial_id in asked if trial_id not in ended]
    if not wanted:
        raise ConfigError("all that is named has ended", fix="nas-sweep status shows what runs")
    for trial_id in wanted:
        store.put(layout.cancel(trial_id), b"", durable=True)
    for trial_id in wanted:
        for holder in store.leases.holders(trial_id):
            if not store.leases.expired(trial_id, holder):
                click.echo(f"  {trial_id} leaves off on {holder.host}")
    click.echo(f"{len(wanted)} trials cancelled; the next launch that owes them goes on")


def forget(store: Store, trial_ids: Iterable[str]) -> None:
    """Takes the requests for some trials back: they are wanted again.

    Raises:
        StoreError: The store can't be read or written.
    """
    for trial_id in lookup.cancelled(store).intersection(trial_ids):
        store.delete(layout.cancel(trial_id))
