"""Which finished surfaces are of networks that their trials no longer have.

A surface's row names the checkpoint that was measured by the hash of its tensors. A trial that was
put back, or whose checkpoints were deleted, may be trained to another network under the same id.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from results_schema import layout, tables
from results_schema.errors import CorruptData, MissingKey
from results_schema.layout import Stat
from results_schema.store import Store
from results_schema.tables import SURFACES


def outdated(store: Store, surface_ids: Iterable[str]) -> set[str]:
    """Return those of some finished surfaces that are of a network that is gone.

    Names and ages are listed, and only what they leave in doubt is read: a row is of the network
    that the store has if its checkpoint has been there since before the row.

    Args:
        store: Where the surfaces and the checkpoints of their trials are.
        surface_ids: Of surfaces that have a row.
    """
    # The checkpoints' ages are taken first, so that in doubt they seem the younger ones.
    newest, states = _states(store.stats(layout.CHECKPOINTS))
    rows, ended = store.stats(layout.SURFACES), layout.names(store.list(layout.TRIALS))
    found = set()
    for surface_id in surface_ids:
        row, trial_id = rows.get(layout.surface(surface_id)), layout.trial_of(surface_id)
        epoch = layout.epoch_of(surface_id)
        if row is None or not epoch:
            continue
        # A diverged trial was measured after the last epoch that it was trained for.
        state = states.get(layout.state(trial_id, epoch)) or newest.get(trial_id)
        if state is None and trial_id in ended:
            continue
        if (state is None or state.age <= row.age) and _read(store, surface_id):
            found.add(surface_id)
    return found


def is_outdated(store: Store, row: Mapping[str, Any]) -> bool:
    """Return whether a surface's row is of another network than the store has.

    Rows of earlier releases, which do not name the network, are taken for right.

    Args:
        store: Where the trial's checkpoints are.
        row: Of `tables.SURFACES`.
    """
    # It brings in torch, which planning does without unless a row is in doubt.
    from workers.training import checkpoint

    trial_id = row["trial_id"]
    if row["checkpoint"] is None:
        return False
    try:
        return checkpoint.digest(store, trial_id, row["epoch"]) != row["checkpoint"]
    except MissingKey:
        # Of an ended trial, `gc --checkpoints` removes all checkpoints but the last.
        return not store.has(layout.trial(trial_id))
    except CorruptData:
        return False  # damaged, which says nothing about the network that was measured


def _states(stats: Mapping[str, Stat]) -> tuple[dict[str, Stat], dict[str, Stat]]:
    """Return the newest checkpoint of each trial by its id, and all by their keys."""
    states = {key: stat for key, stat in stats.items() if key.endswith("/state.json")}
    newest: dict[str, Stat] = {}
    for key, stat in states.items():
        trial_id = key.split("/")[1]
        if trial_id not in newest or stat.age < newest[trial_id].age:
            newest[trial_id] = stat
    return newest, states


def _read(store: Store, surface_id: str) -> bool:
    """Return whether a surface's row is outdated; a damaged row is left to those who read it."""
    key = layout.surface(surface_id)
    try:
        rows = tables.from_parquet(store.get(key), SURFACES, key).to_pylist()
    except (CorruptData, MissingKey):
        return False
    return any(is_outdated(store, row) for row in rows)
