"""Finished surfaces of networks that their trials no longer have.

A surface's row names the checkpoint that was measured by the hash of its tensors. A trial that was
retried, or whose checkpoints were deleted, may be trained to another network under the same id.
Planning asks this for every finished surface, so torch and pyarrow are imported only where one is
in doubt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey
from results_schema.layout import Stat
from results_schema.store import Store


def outdated(store: Store, surface_ids: Iterable[str]) -> set[str]:
    """Return those of some finished surfaces whose network is gone.

    Names and ages are listed, and only rows in doubt are read: a row is of the network that the
    store has if its checkpoint is older than the row.
    """
    # First, so that one written in between seems younger than its row, which is then read.
    newest, states = _states(store.stats(layout.CHECKPOINTS))
    rows, ended = store.stats(layout.SURFACES), layout.names(store.list(layout.TRIALS))
    found = set()
    for surface_id in surface_ids:
        row, trial_id = rows.get(layout.surface(surface_id)), layout.trial_of(surface_id)
        epoch = layout.epoch_of(surface_id)
        if row is None or not epoch:  # epoch 0 is the untrained network, which the seed determines
            continue
        state = states.get(layout.state(trial_id, epoch)) or newest.get(trial_id)
        # `gc --checkpoints` removes checkpoints of ended trials, which does not outdate a surface.
        if state is None and trial_id in ended:
            continue
        if (state is None or state.age <= row.age) and _read(store, surface_id):
            found.add(surface_id)
    return found


def is_outdated(store: Store, row: Mapping[str, Any]) -> bool:
    """Return whether a surface's row is of another network than the store has.

    A row without a checkpoint is of the untrained network, which the seed determines.
    """
    from workers.training import checkpoint

    trial_id = row["trial_id"]
    if row["checkpoint"] is None:
        return False
    try:
        return checkpoint.digest(store, trial_id, row["epoch"]) != row["checkpoint"]
    except MissingKey:
        return not store.has(layout.trial(trial_id))
    except CorruptData:
        return False


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
    from results_schema import tables

    key = layout.surface(surface_id)
    try:
        rows = tables.from_parquet(store.get(key), tables.SURFACES, key).to_pylist()
    except (CorruptData, MissingKey):
        return False
    return any(is_outdated(store, row) for row in rows)
