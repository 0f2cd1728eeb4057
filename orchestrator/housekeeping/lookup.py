"""Find what a store holds: experiments by name or file, trials and surfaces by the start of an id.

An item is a trial or a surface.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import pyarrow as pa

from results_schema import layout, tables
from results_schema.errors import ConfigError, CorruptData, MissingKey, suggest
from results_schema.lease import Holder
from results_schema.stopping import recorded_pruned
from results_schema.store import Store

_LARGEST = 10_000
"""Size in bytes beyond which a launch's file is not read."""


def experiments(store: Store) -> list[str]:
    """Return the names of the experiments launched into the store, fig2 before fig10."""
    keys = [key for key in store.list(layout.MEMBERS) if key.endswith(".parquet")]
    return sorted(layout.names(keys), key=layout.natural)


def members(store: Store, experiment: str) -> list[str]:
    """Return the ids of an experiment's distinct trials, in its order.

    Raises:
        CorruptData: The experiment's table is damaged.
    """
    return list(dict.fromkeys(_member_columns(store, experiment)["trial_id"].to_pylist()))


def _member_columns(store: Store, experiment: str) -> pa.Table:
    key = layout.members(experiment)
    return tables.from_parquet(store.get(key), tables.MEMBERS, key)


def pruned(store: Store, experiment: str) -> dict[str, int]:
    """Return the epoch at which each trial that an experiment has pruned was, by its id."""
    if not store.list(layout.DECISIONS):
        return {}
    table = _member_columns(store, experiment)
    datasets = zip(table["trial_id"].to_pylist(), table["dataset"].to_pylist(), strict=True)
    return recorded_pruned(store, experiment, dict(datasets))


def wanted(store: Store, experiment: str) -> dict[str, int]:
    """Return the ids of the surfaces that an experiment wants, in its order, each with its points.

    Raises:
        CorruptData: The experiment's table is damaged.
    """
    key = layout.wanted(experiment)
    try:
        rows = tables.from_parquet(store.get(key), tables.WANTED, key).to_pylist()
    except MissingKey:
        return {}
    return {row["surface_id"]: row["points"] for row in rows}


def declarations(store: Store) -> list[str]:
    """Return, as JSON, what each experiment was launched as, and the axes of its members.

    Raises:
        CorruptData: An experiment's table is damaged.
    """
    files = store.several(store.list(layout.EXPERIMENTS))
    found = [data.decode(errors="replace") for _, data in files]
    for name in experiments(store):
        found += filter(None, _member_columns(store, name)["axes"].unique().to_pylist())
    return found


def trials(store: Store) -> set[str]:
    """Return every trial of which the store has anything, or which an experiment names."""
    named = {trial_id for name in experiments(store) for trial_id in members(store, name)}
    return {layout.trial_of(i) for i in named | _items(store, layout.METRICS, layout.TRIALS)}


def surfaces(store: Store) -> set[str]:
    """Return every surface of which the store has anything, or which an experiment wants."""
    named = {surface for name in experiments(store) for surface in wanted(store, name)}
    found = named | _items(store, layout.SURFACES, layout.POINTS)
    return {item for item in found if layout.is_surface(item)}


def cancelled(store: Store) -> set[str]:
    """Return the items that no worker may take until they are launched again."""
    start = layout.cancel("")
    keys = [key for key in store.list(layout.REQUESTS) if key.startswith(start)]
    return {key.removeprefix(start) for key in keys}


def launches(store: Store) -> list[str]:
    """Return the files of launches that may live: none ran on this machine and is gone."""
    start = layout.launch("")
    keys = [key for key in store.list(layout.REQUESTS) if key.startswith(start)]
    return [key for key in keys if not _is_dead(store, key)]


def _is_dead(store: Store, key: str) -> bool:
    """Whether a launch ran on this machine, and its process is gone."""
    try:
        return Holder.from_json(store.get(key, most=_LARGEST), key.rsplit("-", 1)[-1]).dead
    except (MissingKey, CorruptData):
        return False


def table_fingerprints(store: Store, folder: str) -> dict[str, str]:
    """Return a value for each table in a folder that changes with the table, by its item's id."""
    return {
        name: stat.version
        for key, stat in store.stats(folder).items()
        if key.endswith(".parquet")
        for name in layout.names([key])
    }


class NamedItems:
    """The trials that a store's experiments name and the surfaces that they want, at any moment.

    A table is read again only when it has changed, so that checking each of many removed items
    costs no reads.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, dict[str, str]] = {}
        self._trials: set[str] = set()
        self._surfaces: dict[str, set[str]] = {}

    def trials(self) -> set[str]:
        """Return the ids of all named trials."""
        if self._changed(layout.MEMBERS):
            names = experiments(self._store)
            self._trials = {trial_id for name in names for trial_id in members(self._store, name)}
        return self._trials

    def surfaces(self) -> dict[str, set[str]]:
        """Return the ids of all wanted surfaces, by trial."""
        if self._changed(layout.WANTED):
            names = layout.names(self._store.list(layout.WANTED))
            self._surfaces = {}
            for surface in {surface for name in names for surface in wanted(self._store, name)}:
                self._surfaces.setdefault(layout.trial_of(surface), set()).add(surface)
        return self._surfaces

    def _changed(self, folder: str) -> bool:
        """Whether a folder's tables differ from those at the last call."""
        now = table_fingerprints(self._store, folder)
        before, self._seen[folder] = self._seen.get(folder), now
        return before != now


def find_experiments(store: Store, names: Sequence[str]) -> list[str]:
    """Return the experiments of these names or files; all experiments if none is named.

    A name without profile and `--name` stands for all experiments that begin so
    (`layout.variations`).

    Raises:
        ConfigError: No experiment of that name was launched into this store.
    """
    known = experiments(store)
    found: dict[str, None] = {}
    for name in map(experiment_name, names):
        if not (some := layout.variations(name, known)):
            raise _unknown("experiment", name, known)
        found |= dict.fromkeys(some)
    return list(found) or known


def find_experiment(store: Store, name: str) -> str:
    """Return the one experiment of this name or file.

    Raises:
        ConfigError: No experiment of that name was launched into this store, or several were.
    """
    found = find_experiments(store, [name])
    if len(found) > 1:
        fix = f"name one of {', '.join(found)}"
        raise ConfigError(f"{name!r} is {len(found)} experiments", fix=fix)
    return found[0]


def member_names(store: Store, experiment: str) -> list[tuple[str, str]]:
    """Return the name (`name_members`) and the trial of each member of an experiment, in its order.

    Raises:
        CorruptData: The experiment's table is damaged.
    """
    from orchestrator.config.record import name_members  # slow to import

    rows = _member_columns(store, experiment).to_pylist()
    names = name_members(experiment, rows)
    return [(name, row["trial_id"]) for name, row in zip(names, rows, strict=True)]


def _find_member(store: Store, name: str) -> str:
    """Return the one trial whose name has all parts of a name such as `fig9/DARTS/C3`."""
    head, *parts = name.split("/")
    wanted = {"base" if one == "c0" else one for one in map(str.casefold, parts) if one}
    experiment = find_experiment(store, head)
    known = member_names(store, experiment)
    found = [(one, trial) for one, trial in known if wanted <= {*one.casefold().split("/")[1:]}]
    if len({trial for _, trial in found}) == 1:
        return found[0][1]
    shown = [one for one, _ in found or known]
    listed = ", ".join(shown[:4]) + ", …" * (len(shown) > 4)
    if not found:
        raise ConfigError(f"{experiment} has no member {name!r}", fix=f"it has {listed}")
    raise ConfigError(f"{len(found)} members are called {name!r}", fix=f"write more: {listed}")


def find_item(store: Store, start: str) -> str:
    """Return the trial of a member's name, or else the one item whose id begins with `start`.

    A name has slashes (`member_names`), the id of a surface an `@`.

    Raises:
        ConfigError: No id or member fits, or several do.
    """
    if "/" in start:
        return _find_member(store, start)
    return _only_match(start, surfaces(store) if "@" in start else trials(store))


def find_items(store: Store, names: Sequence[str]) -> list[str]:
    """Return the named trials and surfaces and those of the named experiments, trials first.

    Raises:
        ConfigError: A name is neither an experiment's nor a member's nor the start of just one id.
    """
    known = experiments(store)
    # Each is listed at most once, and only if a name needs it.
    every_trial, every_surface = cache(lambda: trials(store)), cache(lambda: surfaces(store))
    found: dict[str, None] = {}
    for name in names:
        experiment = experiment_name(name)
        if layout.variations(experiment, known):
            experiment = find_experiment(store, experiment)
            found |= dict.fromkeys([*members(store, experiment), *wanted(store, experiment)])
        elif "/" in name and experiment == name:
            found[_find_member(store, name)] = None
        elif "@" in name:
            found[_only_match(name, every_surface())] = None
        elif experiment != name:
            raise _unknown("experiment", name, known)
        else:
            found[_only_match(name, every_trial())] = None
    return sorted(found, key=layout.is_surface)


def row_of(item: str) -> str:
    """Return the key of the row that a trial or surface gets when it ends."""
    return layout.surface(item) if layout.is_surface(item) else layout.trial(item)


def experiment_name(name: str) -> str:
    """Return an experiment's name, given the name or its file."""
    return Path(name).stem if name.endswith((".yaml", ".yml")) else name


def _items(store: Store, *folders: str) -> set[str]:
    """Return every item with a file in the folders, a failure, a log or a lease."""
    folders = (*folders, layout.FAILURES, layout.LOGS)
    keys = [key for folder in folders for key in store.list(folder)]
    return layout.names(keys) | set(filter(layout.is_id, store.leases.held()))


def _only_match(start: str, known: Iterable[str]) -> str:
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
    fix = "nas-sweep status lists what there is" if known else f"the store has no {kind} yet"
    # A part of an id is too short to be similar to it.
    if name and (parts := [one for one in known if name in one]):
        fix = f"did you mean {' or '.join(parts[:3])}?"
    return ConfigError(f"the store has no {kind} {name!r}", fix=suggest(name, known, otherwise=fix))
