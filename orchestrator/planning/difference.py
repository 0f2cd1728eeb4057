"""How trials differ: the ended trial that is nearest to a planned one, and what changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple

from orchestrator.config.experiment import Experiment
from orchestrator.planning.plan import Plan, make_plan
from results_schema import layout
from results_schema.errors import ConfigError, CorruptData, NasSweepError
from results_schema.genotype import Genotype
from results_schema.program import Trial, read_trial
from results_schema.store import Store

MOST_PLANNED, MOST_READ = 300, 100
"""Most planned trials that a plan compares, and most specs that it reads: it has to be quick."""
MOST_EXPLAINED, MOST_KNOWN = 1000, 300
"""The same where each trial is explained."""
SIMILAR = 3
"""Fields in which a planned trial may differ from the nearest to be called a change of it."""
LINES = 3
"""Lines of a plan's summary."""
_DERIVED = {"preprocessing", "statistics_preprocessing", "network.stem_stride"}
"""Fields that follow from the data set."""
CELLS = ("genotype.normal", "genotype.reduce")
"""Fields of the two cells."""


class Change(NamedTuple):
    """A field in which two trials differ, and its values as text."""

    field: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.field} {self.before} → {self.after}"


class Nearest(NamedTuple):
    """A planned trial, the nearest one that has ended, if any, and the changes from that."""

    trial_id: str
    ended: str | None
    changes: tuple[Change, ...]


def fields_of(spec: Trial) -> dict[str, str]:
    """Return the fields of a trial as text, by path such as `recipe.weight_decay`."""
    return {path.removeprefix("."): text for path, text in _flat(spec, "")}


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Genotype):
        for name in ("normal", "reduce"):
            cell = getattr(value, name)
            digest = hashlib.sha256(json.dumps(value.to_json()[name]).encode()).hexdigest()[:4]
            yield f"{path}.{name}", f"{cell.width:g}c,{cell.depth} #{digest}"
    elif is_dataclass(value):
        for item in fields(value):
            yield from _flat(getattr(value, item.name), f"{path}.{item.name}")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}")
    elif isinstance(value, float):
        yield path, f"{value:g}"
    else:
        yield path, value if isinstance(value, str) else json.dumps(value)


def changes(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the fields in which two trials differ, without those that follow from the data set."""
    found = [
        Change(name, before.get(name, "–"), after.get(name, "–"))
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    if any(change.field == "dataset" for change in found):
        found = [change for change in found if change.field not in _DERIVED]
    return tuple(found)


def read_specs(store: Store, ids: Iterable[str]) -> dict[str, Trial]:
    """Return the specs of ended trials by id, without what is damaged or of another release."""
    from results_schema import tables  # brings in pyarrow, which a new store's plan does without

    found: dict[str, Trial] = {}
    for key, data in store.several([layout.trial(one) for one in ids]):
        try:
            [row] = tables.from_parquet(data, tables.TRIALS, key).to_pylist()
            found[row["trial_id"]] = read_trial(row["spec"])
        except (NasSweepError, ValueError):
            continue
    return found


def nearest(plan: Plan, store: Store, planned: Sequence[Trial], most: int) -> list[Nearest]:
    """Return the nearest ended trial of each planned one: that with the fewest fields to change.

    It is looked for among the plan's own trials that have ended and, of the store, among those
    whose ids begin most alike, of which `most` are read.
    """
    wanted = list(dict.fromkeys(_beginning(spec.trial_id) for spec in planned))
    here = _alike(wanted, [name for name in plan.trials if name in plan.ended])
    ended = {name: plan.trials[name] for name in here[: 3 * most]}
    others = _alike(wanted, [name for name in plan.ended if name not in plan.trials])[:most]
    known = {name: fields_of(spec) for name, spec in (ended | read_specs(store, others)).items()}
    pairs = {name: frozenset(values.items()) for name, values in known.items()}
    found = []
    for spec in planned:
        values = fields_of(spec)
        own = frozenset(values.items())
        # Of equally near ones the first, so that the answer does not depend on the listing.
        near = min(sorted(pairs), key=lambda name: len(own ^ pairs[name]), default=None)
        differ = changes(known[near], values) if near is not None else ()
        found.append(Nearest(spec.trial_id, near, differ))
    return found


def _beginning(trial_id: str) -> tuple[str, ...]:
    return tuple(trial_id.split("-")[:-1])


def _alike(wanted: Iterable[tuple[str, ...]], names: Sequence[str]) -> list[str]:
    """Return names by how much their beginnings agree with any of those wanted, best first."""
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(names):
        groups.setdefault(_beginning(name), []).append(name)
    exact = [groups.pop(one) for one in wanted if one in groups]
    # One of each group first: those of a group differ in what no id says.
    ranks: dict[str, tuple[int, int]] = {}
    parts = Counter(part for one in wanted for part in set(one))
    for group in exact:
        ranks |= {name: (-1_000_000, place) for place, name in enumerate(group)}
    for start, group in groups.items():
        likeness = -sum(parts[part] for part in set(start))
        ranks |= {name: (likeness, place) for place, name in enumerate(group)}
    return sorted(ranks, key=lambda name: (*ranks[name], name))


def summary(plan: Plan, store: Store) -> list[str]:
    """Return what is new in a plan, such as `14 new: recipe.weight_decay 0.0003 → 0.001`.

    Trials that were launched before, and have not ended, are not new. There are no lines for a
    large plan, or where nothing like it has ended.
    """
    known = _launched(plan, store)
    planned = [spec for spec in plan.remaining if spec.trial_id not in known]
    if not planned or not plan.ended or len(planned) > MOST_PLANNED:
        return []
    groups: dict[tuple[tuple[str, str], ...], list[tuple[Change, ...]]] = {}
    for one in nearest(plan, store, planned, MOST_READ):
        changed = {
            "cell" if change.field in CELLS else change.field: change for change in one.changes
        }
        if one.ended is not None and len(changed) <= SIMILAR:
            # Which seed or cell it was is of no interest.
            any_before = ("cell", "seed")
            key = [(n, "" if n in any_before else was.before) for n, was in changed.items()]
            groups.setdefault(tuple(key), []).append(tuple(changed.values()))
    lines = []
    for key, members in sorted(groups.items(), key=lambda pair: -len(pair[1]))[:LINES]:
        texts = []
        for place, (name, before) in enumerate(key):
            after = list(dict.fromkeys(member[place].after for member in members))
            shown = ", ".join([*after[:5], *["…"] * (len(after) > 5)])
            values = f"{name} {before} → {shown}" if before else f"{name} {shown}"
            texts.append("another cell" if name == "cell" else values)
        lines.append(f"{len(members)} new: {'; '.join(texts)}")
    named = sum(map(len, groups.values()))
    rest = len(planned) - sum(int(line.split()[0]) for line in lines)
    return [*lines, f"{rest} new otherwise"] if named and rest else lines


def _launched(plan: Plan, store: Store) -> set[str]:
    from results_schema import tables

    keys, found = [layout.members(name) for name in plan.members], set[str]()
    for key, data in store.several(keys):
        with contextlib.suppress(CorruptData):
            found |= set(tables.from_parquet(data, tables.MEMBERS, key)["trial_id"].to_pylist())
    return found


def explain(experiments: Sequence[Experiment], store: Store, names: Sequence[str]) -> list[Nearest]:
    """Return the nearest ended trial of each trial that remains of some experiments.

    Args:
        experiments: Experiments with distinct names.
        store: The store.
        names: Patterns of the trials to explain (`Plan.choose`); all if there are none.

    Raises:
        ConfigError: No trial fits a pattern, or there are too many trials.
    """
    plan = make_plan(experiments, store).choose(names)
    if len(plan.remaining) > MOST_EXPLAINED:
        what = f"{len(plan.remaining):,} trials are new"
        raise ConfigError(what, fix="name some after the file, such as DARTS/C3")
    return nearest(plan, store, plan.remaining, MOST_KNOWN)


def compare(store: Store, ids: Sequence[str]) -> tuple[Change, ...]:
    """Return how the second of two ended trials differs from the first.

    Raises:
        ConfigError: One has not ended.
    """
    specs = read_specs(store, ids)
    if missing := [one for one in ids if one not in specs]:
        fix = "name its experiment's file before it, and it is compared with the nearest that has"
        raise ConfigError(f"{missing[0]} has not ended", fix=fix)
    before, after = (fields_of(specs[one]) for one in ids)
    return changes(before, after)
