"""Removing what a preview named, one trial at a time and never under a worker's hands."""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator import lookup
from results_schema import layout
from results_schema.store import Store


def size(store: Store, keys: Iterable[str]) -> int:
    """Bytes under the keys; what is gone meanwhile counts nothing."""
    return sum(stat.size for key in keys if (stat := store.stat(key)))


def everything(store: Store, trial_id: str, *, log: bool) -> list[str]:
    """Every key of a trial, the ending first: cut short, what is left is a trial that goes on.

    Its surfaces come with it: they are of the network that it has left.

    Args:
        store: Where.
        trial_id: Of the trial, or of a surface alone.
        log: Whether its log belongs to it.
    """
    if layout.is_surface(trial_id):
        return [key for key in _of_surface(trial_id, log) if store.has(key)]
    surfaces = [name for name in lookup.surfaces(store) if layout.trial_of(name) == trial_id]
    checkpoints = store.list(layout.checkpoints(trial_id))
    # Each state.json sorts before its tensors, and without it they are no checkpoint.
    keys = [
        layout.trial(trial_id),
        layout.failure(trial_id),
        *checkpoints,
        layout.metrics(trial_id),
        *([layout.log(trial_id)] if log else []),
        *(key for name in sorted(surfaces) for key in _of_surface(name, log)),
    ]
    return [key for key in keys if store.has(key)]


def _of_surface(name: str, log: bool) -> list[str]:
    keys = [layout.surface(name), layout.failure(name), layout.points(name)]
    return [*keys, layout.log(name)] if log else keys


def remove(store: Store, trial_id: str, keys: Iterable[str]) -> bool:
    """Deletes keys of a trial while no worker has it; false, and nothing, if one does.

    Raises:
        StoreError: Something can't be removed.
    """
    lease = store.leases.take(trial_id)
    if lease is None:
        return False
    with lease:
        for key in keys:
            store.delete(key, lease=lease)
    return True


def amount(count: int) -> str:
    """Bytes in words: `12 bytes`, `3.4 kB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}"
