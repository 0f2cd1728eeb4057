"""Removing trials and surfaces: as a preview showed them, and never while a worker has one.

A worker of a surface reads its trial's checkpoint and writes its row much later. So the leases of
all surfaces of a trial are taken before anything of the trial is removed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.housekeeping.lookup import Named
from results_schema import layout
from results_schema.layout import Stat
from results_schema.lease import Lease
from results_schema.store import Store

Outcome = Literal["removed", "held", "changed"]
"""How a removal ended: nothing was removed if a worker has a lease, or anything has changed."""

_FOLDERS = (
    layout.TRIALS,
    layout.FAILURES,
    layout.CHECKPOINTS,
    layout.METRICS,
    layout.LOGS,
    layout.SURFACES,
    layout.POINTS,
    layout.REQUESTS,
)


@dataclass(frozen=True)
class Shown:
    """A trial with its surfaces, or a surface alone, as a preview shows it.

    Attributes:
        item: Id of the trial or surface.
        surfaces: Ids of the trial's surfaces, those of which the store has nothing among them.
        files: Keys of all that is to be removed, in the order in which it is removed.
    """

    item: str
    surfaces: tuple[str, ...]
    files: Mapping[str, Stat]

    @property
    def leases(self) -> tuple[str, ...]:
        """The items whose leases its removal needs."""
        return self.item, *self.surfaces


class Contents:
    """What a store holds of all trials and surfaces, listed once, so that each costs no listing.

    Args:
        store: The store.
        named: What its experiments name.

    Attributes:
        checkpoints: The keys below each trial's folder of checkpoints.
    """

    def __init__(self, store: Store, named: Named) -> None:
        self._files = {k: stat for folder in _FOLDERS for k, stat in store.stats(folder).items()}
        self.checkpoints: dict[str, list[str]] = {}
        self._surfaces: dict[str, set[str]] = {t: set(s) for t, s in named.surfaces().items()}
        found = set(store.leases.held())
        for key in self._files:
            folder, name, *rest = key.split("/")
            if folder + "/" == layout.CHECKPOINTS and rest:
                self.checkpoints.setdefault(name, []).append(key)
            elif key.startswith(layout.LEASED):
                found |= layout.names([key])
        for item in filter(layout.is_surface, found):
            self._surfaces.setdefault(layout.trial_of(item), set()).add(item)

    @property
    def surfaces(self) -> set[str]:
        """Every surface of which the store has anything, or which an experiment wants."""
        return {surface for group in self._surfaces.values() for surface in group}

    def shown(self, item: str, *, traces: bool) -> Shown:
        """Return all of a trial and its surfaces, or of a surface.

        Args:
            item: Id of the trial or surface.
            traces: Whether logs and requests to cancel are to be removed too.
        """
        surfaces = tuple(sorted(self._surfaces.get(item, ())))
        keys = _keys(item, surfaces, self.checkpoints.get(item, ()), traces=traces)
        found = {key: self._files[key] for key in keys if key in self._files}
        return Shown(item, surfaces, found)

    def files(self, keys: Iterable[str]) -> dict[str, Stat]:
        """Return what is known of some keys."""
        return {key: self._files[key] for key in keys}


def remove(
    store: Store,
    shown: Shown,
    named: Named,
    *,
    traces: bool,
    still: Callable[[], bool] = lambda: True,
) -> Outcome:
    """Remove a trial or surface, unless a worker has it or it is not as it was shown.

    Args:
        store: The store.
        shown: What was shown.
        named: What the experiments name; surfaces that have come to be wanted are leased too.
        traces: As it was given to `Contents.shown`.
        still: Called under the leases: whether it may still be removed.

    Raises:
        StoreError: Something can't be removed.
    """
    surfaces = sorted({*shown.surfaces, *named.surfaces().get(shown.item, ())})
    with contextlib.ExitStack() as stack:
        leases = _take(store, [shown.item, *surfaces], stack)
        if leases is None:
            return "held"
        checkpoints = store.list(layout.checkpoints(shown.item))
        keys = _keys(shown.item, surfaces, checkpoints, traces=traces)
        now = {key: stat.mark for key in keys if (stat := store.stat(key))}
        if now != {key: stat.mark for key, stat in shown.files.items()} or not still():
            return "changed"
        for key in shown.files:
            [name] = layout.names([key])
            store.delete(key, lease=leases.get(name, leases[shown.item]))
    return "removed"


def remove_some(
    store: Store, item: str, keys: Collection[str], choose: Callable[[], Collection[str]]
) -> list[str] | None:
    """Remove some keys of a trial or surface, and return which; None if a worker has it.

    Args:
        store: The store.
        item: Id of the trial or surface.
        keys: What was shown.
        choose: Called under the lease for what may be removed; the rest of the keys stays.

    Raises:
        StoreError: Something can't be removed.
    """
    with contextlib.ExitStack() as stack:
        leases = _take(store, [item], stack)
        if leases is None:
            return None
        chosen = choose()
        going = [key for key in keys if key in chosen]
        for key in going:
            store.delete(key, lease=leases[item])
    return going


def amount(count: int) -> str:
    """Bytes in words: `12 bytes`, `3.4 kB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}"


def _take(
    store: Store, items: Iterable[str], stack: contextlib.ExitStack
) -> dict[str, Lease] | None:
    """Take the leases of some items for as long as the stack is open; None if one is held."""
    leases: dict[str, Lease] = {}
    for item in items:
        lease = store.leases.take(item)
        if lease is None:
            return None
        leases[item] = stack.enter_context(lease)
    return leases


def _keys(
    item: str, surfaces: Iterable[str], checkpoints: Iterable[str], *, traces: bool
) -> list[str]:
    """Every key of a trial or surface, its ending first: cut short, what is left goes on."""
    if layout.is_surface(item):
        return _keys_of_surface(item, traces=traces)
    # Each state.json sorts before its tensors, and without it they are no checkpoint.
    keys = [
        layout.trial(item),
        layout.failure(item),
        *sorted(checkpoints),
        layout.metrics(item),
        *([layout.log(item), layout.cancel(item)] if traces else []),
    ]
    return keys + [key for name in surfaces for key in _keys_of_surface(name, traces=traces)]


def _keys_of_surface(name: str, *, traces: bool) -> list[str]:
    keys = [layout.surface(name), layout.failure(name), layout.points(name), layout.vectors(name)]
    return [*keys, layout.log(name), layout.cancel(name)] if traces else keys
