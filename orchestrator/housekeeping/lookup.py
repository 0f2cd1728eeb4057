"""What a user names in a store: experiments by name or file, trials by the start of their id."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path

from results_schema import layout, tables
from results_schema.errors import ConfigError, MissingKey
from results_schema.store import Store, existing_store
from results_schema.tables import WANTED

__all__ = [
    "Named", "cancelled", "existing_store", "experiments", "find_experiments", "find_item",
    "find_surfaces", "find_trial", "find_trials", "members", "stem", "surfaces", "trials", "wanted",
]  # fmt: skip


def experiments(store: Store) -> list[str]:
    """Names of the experiments that were launched into the store, fig2 before fig10."""
    keys = store.list(layout.MEMBERS)
    return sorted(
        layout.names([key for key in keys if key.endswith(".parquet")]), key=layout.natural
    )


def members(store: Store, experiment: str) -> list[str]:
    """The ids of an experiment's distinct trials, in its order.

    Raises:
        CorruptData: Its table is damaged.
    """
    key = layout.members(experiment)
    table = tables.from_parquet(store.get(key), tables.MEMBERS, key)
    return list(dict.fromkeys(table["trial_id"].to_pylist()))


def wanted(store: Store, experiment: str) -> dict[str, int]:
    """The ids of the surfaces that an experiment wants, in its order, with the points of each.

    Raises:
        CorruptData: Its table is damaged.
    """
    key = layout.wanted(experiment)
    try:
        table = tables.from_parquet(store.get(key), WANTED, key)
    except MissingKey:  # launched before there were surfaces
        return {}
    return dict(zip(table["surface_id"].to_pylist(), table["points"].to_pylist(), strict=True))


def surfaces(store: Store) -> set[str]:
    """Every surface of which the store has anything, or which an experiment wants."""
    found = {name for experiment in experiments(store) for name in wanted(store, experiment)}
    for folder in (layout.SURFACES, layout.POINTS, layout.FAILURES, layout.LOGS):
        found |= layout.names(store.list(folder))
    return {item for item in found | set(store.leases.held()) if layout.is_surface(item)}


def trials(store: Store) -> set[str]:
    """Every trial of which the store has anything, or which an experiment names."""
    found = {trial_id for name in experiments(store) for trial_id in members(store, name)}
    for folder in (layout.METRICS, layout.TRIALS, layout.FAILURES, layout.LOGS):
        found |= layout.names(store.list(folder))
    return {layout.trial_of(item) for item in found | set(store.leases.held())}


class Named:
    """The trials that a store's experiments name, and the surfaces that they want, at any moment.

    Tables are read when they are needed, and again only when they have changed: whoever removes
    things asks once for each.

    Args:
        store: The store.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._marks: dict[str, dict[str, str]] = {}
        self._trials: set[str] = set()
        self._surfaces: dict[str, set[str]] = {}

    def trials(self) -> set[str]:
        """Return the ids of all trials that are named.

        Raises:
            CorruptData: An experiment's table is damaged.
        """
        if self._changed(layout.MEMBERS):
            names = experiments(self._store)
            self._trials = {trial_id for name in names for trial_id in members(self._store, name)}
        return self._trials

    def surfaces(self) -> dict[str, set[str]]:
        """Return the ids of all surfaces that are wanted, by trial.

        Raises:
            CorruptData: An experiment's table is damaged.
        """
        if self._changed(layout.WANTED):
            names = layout.names(self._store.list(layout.WANTED))
            self._surfaces = {}
            for surface in {one for name in names for one in wanted(self._store, name)}:
                self._surfaces.setdefault(layout.trial_of(surface), set()).add(surface)
        return self._surfaces

    def _changed(self, folder: str) -> bool:
        """Whether a folder's tables differ from those at the last call."""
        marks = {key: stat.mark for key, stat in self._store.stats(folder).items()}
        before, self._marks[folder] = self._marks.get(folder), marks
        return before != marks


def cancelled(store: Store) -> set[str]:
    """Trials that are not to be trained until they are launched anew."""
    start = layout.cancel("")
    keys = [key for key in store.list(layout.REQUESTS) if key.startswith(start)]
    return {key.removeprefix(start) for key in keys}


def find_experiments(store: Store, names: Sequence[str]) -> list[str]:
    """The experiments of these names, or of these files' names; all if none is named.

    Raises:
        ConfigError: No experiment of that name was launched into this store.
    """
    known = experiments(store)
    wanted = dict.fromkeys(stem(name) for name in names)
    for name in wanted:
        if name not in known:
            raise _unknown("experiment", name, known)
    return list(wanted) or known


def find_trial(store: Store, start: str) -> str:
    """The one trial whose id is this, or begins with it.

    Raises:
        ConfigError: No trial does, or several do.
    """
    return _one(start, trials(store))


def find_item(store: Store, start: str) -> str:
    """The one trial whose id is this, or begins with it; or the one surface.

    Raises:
        ConfigError: None does, or several do.
    """
    if "@" not in start:
        return find_trial(store, start)
    return _one(start, surfaces(store))


def find_trials(store: Store, names: Sequence[str]) -> list[str]:
    """The trials that are named one by one, and those of the experiments that are named.

    Raises:
        ConfigError: A name is neither an experiment's nor the start of just one trial's id.
    """
    known, every = experiments(store), trials(store)
    found: dict[str, None] = {}
    for name in names:
        if stem(name) in known:
            found |= dict.fromkeys(members(store, stem(name)))
        elif "@" in name:
            continue  # a surface
        elif name.endswith((".yaml", ".yml")):
            raise _unknown("experiment", name, known)
        else:
            found[_one(name, every)] = None
    return list(found)


def find_surfaces(store: Store, names: Sequence[str]) -> list[str]:
    """The surfaces that the named experiments want, and those named by an id with an `@`.

    Raises:
        ConfigError: A name with an `@` is not the start of just one surface's id.
    """
    known = experiments(store)
    every = surfaces(store) if any("@" in name for name in names) else set()
    found: dict[str, None] = {}
    for name in names:
        if stem(name) in known:
            found |= dict.fromkeys(wanted(store, stem(name)))
        elif "@" in name:
            found[_one(name, every)] = None
    return list(found)


def stem(name: str) -> str:
    """The experiment's name, given that or its file."""
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def _one(start: str, known: Iterable[str]) -> str:
    found = sorted(item for item in known if item.startswith(start))
    if start in found:
        return start
    kind = "surface" if "@" in start else "trial"
    if not found:
        raise _unknown(kind, start, known)
    if len(found) > 1:
        shown = ", ".join(found[:4]) + (", …" if len(found) > 4 else "")
        raise ConfigError(
            f"{len(found)} {kind}s begin with {start!r}", fix=f"write more of one id: {shown}"
        )
    return found[0]


def _unknown(kind: str, name: str, known: Iterable[str]) -> ConfigError:
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    near = near or [one for one in known if name and name in one][:3]
    fix = f"the store has no {kind} yet" if not known else "nas-sweep status lists what there is"
    return ConfigError(
        f"the store has no {kind} {name!r}", fix=f"nearest: {', '.join(near)}" if near else fix
    )
