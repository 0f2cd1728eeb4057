"""Early stopping: the rule of an experiment, its cohorts, and decisions that are never revised.

A cohort is the trials of an experiment on one data set. It is synchronous: at a rung, an epoch that
the rule names, its trials wait until each has committed that epoch, has ended, or has failed for
good. Then one decision is computed from the rows that they have (`decide`) and stored under a
lease. A trial that a decision does not keep is *pruned*: it gets no ending, so it continues from
its checkpoint once no experiment prunes it.

A decision is named by its content, the rule and the cohort. So another rule, or a trial more, makes
other decisions and leaves these as they are.
"""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import count, takewhile
from typing import Annotated, Any

from results_schema import layout
from results_schema.canonical import Spec, one_of, optional, parse_json, real, whole
from results_schema.errors import CorruptData, NasSweepError, SpecError
from results_schema.store import Store

RULES = ("median", "halving")
GOALS = ("min", "max")
CELL_METRICS = {
    f"{split}_{name}": goal
    for split in ("val", "test", "train")
    for name, goal in (("loss", "min"), ("accuracy", "max"))
}
"""Metrics of cells by which trials can be compared, each with its goal."""

_LARGEST = 50_000_000
"""Bytes beyond which a decision is not read."""


def _rungs(name: str, value: Any) -> tuple[int, ...]:
    rungs = tuple(value) if isinstance(value, list | tuple) else (value,)
    sound = all(type(rung) is int and 0 < rung < 2**31 for rung in rungs)
    if sound and list(rungs) == sorted(set(rungs)):
        return rungs
    raise SpecError(f"{name} is {list(rungs)!r}", fix="write ascending epochs: [10, 30, 90]")


@dataclass(frozen=True)
class StopRule(Spec):
    """When trials of a cohort are compared, by what, and which are kept.

    Attributes:
        rule: "halving": at each rung the best share of those that remain is kept. "median": at each
            rung a trial is kept if its best value so far is no worse than the median over the
            cohort of the mean value so far (Golovin et al., 2017, Section 3.2.1).
        metric: Column of the metrics that is compared; empty for the experiment's own.
        goal: "min" or "max": which values are better.
        rungs: Epochs of halving's decisions.
        keep: Share that halving keeps, rounded up to whole trials.
        after: First epoch of the median's decisions.
        every: Epochs between two of them; as many as before the first, unless given.
    """

    rule: Annotated[str, one_of(RULES)]
    metric: str = ""
    goal: Annotated[str, one_of(("", *GOALS))] = ""
    rungs: Annotated[tuple[int, ...], _rungs] = optional(())
    keep: Annotated[float, real(zero=True, below=1)] = optional(0.0)
    after: Annotated[int, whole(0)] = optional(0)
    every: Annotated[int, whole(0)] = optional(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        own, others = ("rungs", "keep"), ("after", "every")
        if self.rule == "median":
            own, others = others, own
        if wrong := [name for name in others if getattr(self, name)]:
            raise SpecError(f"{self.rule} takes no {wrong[0]}", fix=f"use {' and '.join(own)}")
        if missing := [name for name in own if not getattr(self, name) and name != "every"]:
            fix = "write {rule: halving, rungs: [10, 30], keep: 0.33}"
            fix = "write {rule: median, after: 10}" if self.rule == "median" else fix
            raise SpecError(f"{self.rule} lacks {missing[0]}", fix=fix)

    def rungs_of(self, epochs: int) -> Iterator[int]:
        """Yield the epochs after which a trial of so many epochs waits; 0 if they are unknown."""
        every: Iterable[int] = self.rungs or count(self.after, self.every or self.after)
        return takewhile(lambda rung: not epochs or rung < epochs, iter(every))

    def kept(self, curves: Mapping[str, Sequence[float]], candidates: Collection[str]) -> set[str]:
        """Return which candidates are kept.

        Args:
            curves: Values of the metric in the epochs up to the rung, by trial of the cohort.
                What is missing or not finite is worst.
            candidates: Trials that no earlier decision pruned.
        """
        sign = 1.0 if self.goal == "min" else -1.0
        scores = {
            trial: [sign * v if math.isfinite(v) else math.inf for v in curve]
            for trial, curve in curves.items()
        }
        if self.rule == "halving":
            last = {t: scores[t][-1] if scores.get(t) else math.inf for t in candidates}
            # Of equal ones the first by id is kept, so that the number is always the same.
            ranked = sorted(candidates, key=lambda trial: (last[trial], trial))
            best = ranked[: max(1, math.ceil(self.keep * len(ranked) - 1e-9))]
            return {trial for trial in best if math.isfinite(last[trial])}
        means = [statistics.fmean(one) if one else math.inf for one in scores.values()]
        means += [math.inf] * sum(trial not in scores for trial in candidates)
        middle = sorted(means)[(len(means) - 1) // 2]
        best = {t: min(scores.get(t) or [math.inf]) for t in candidates}
        return {t for t, value in best.items() if math.isfinite(value) and value <= middle}


@dataclass(frozen=True)
class Cohort:
    """Trials that a rule compares with one another.

    Attributes:
        rule: The rule, with its metric and goal.
        epochs: Number of epochs of each trial by id; 0 where a program does not tell.
    """

    rule: StopRule
    epochs: Mapping[str, int] = field(compare=False)

    @cached_property
    def trials(self) -> tuple[str, ...]:
        """Ids of the trials, sorted."""
        return tuple(sorted(self.epochs))

    @cached_property
    def digest(self) -> str:
        """First 10 hexadecimal digits of the SHA-256 of the rule and the trials."""
        text = "\n".join([self.rule.to_json(), *self.trials])
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def rungs(self, trial: str) -> Iterator[int]:
        """Yield the epochs after which a trial waits."""
        return self.rule.rungs_of(self.epochs[trial])


@dataclass(frozen=True)
class Decision:
    """Which trials of a cohort go on after a rung.

    Attributes:
        epoch: The rung.
        kept: Trials that go on, or had ended.
        pruned: The others, of those that no earlier decision had pruned.
    """

    epoch: int
    kept: frozenset[str]
    pruned: frozenset[str]


def read_decisions(store: Store, cohorts: Collection[Cohort]) -> dict[str, dict[int, Decision]]:
    """Return the decisions of cohorts, by the cohort's digest and the epoch.

    Raises:
        CorruptData: One is damaged.
    """
    found: dict[str, dict[int, Decision]] = {cohort.digest: {} for cohort in cohorts}
    if not found:
        return found
    keys = [key for key in store.list(layout.DECISIONS) if layout.cohort_of(key) in found]
    for key, data in store.several(keys):
        decision = _parse(data, key)
        found[layout.cohort_of(key)][decision.epoch] = decision
    return found


def pruned_trials(decisions: Iterable[Decision]) -> dict[str, int]:
    """Return the epoch at which each pruned trial of a cohort was pruned."""
    return {trial: one.epoch for one in decisions for trial in one.pruned}


def decide(store: Store, cohort: Cohort, epoch: int, experiment: str) -> Decision | None:
    """Return the decision at a rung, made now unless it was; None while another launch makes it.

    Every trial of the cohort must have committed this epoch, have ended, or have failed for good.

    Raises:
        StoreError: The store can't be read or written.
    """
    key = layout.decision(cohort.digest, epoch)
    if (lease := store.leases.take(layout.decision_lease(cohort.digest))) is None:
        return None
    with lease:
        known = read_decisions(store, [cohort])[cohort.digest]
        if epoch in known:
            return known[epoch]
        gone = pruned_trials(one for one in known.values() if one.epoch < epoch)
        candidates = [trial for trial in cohort.trials if trial not in gone]
        curves = _curves(store, cohort, epoch, gone)
        kept = cohort.rule.kept(curves, candidates)
        content = {
            "experiment": experiment,
            "rule": json.loads(cohort.rule.to_json()),
            "epoch": epoch,
            "kept": sorted(kept),
            "pruned": sorted(set(candidates) - kept),
            # As text where JSON has no number.
            "values": {t: repr(c[-1]) for t, c in curves.items() if c and t not in gone},
            "decided_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        data = json.dumps(content, indent=1).encode()
        store.put(key, data, lease=lease, durable=True, final=True)
        return _parse(data, key)


def _curves(
    store: Store, cohort: Cohort, epoch: int, gone: Mapping[str, int]
) -> dict[str, list[float]]:
    """Return the metric of each trial up to a rung, or to that at which it was pruned."""
    from results_schema import tables

    keys = {layout.metrics(trial): trial for trial in cohort.trials}
    curves: dict[str, list[float]] = {}
    for key, data in store.several(keys):
        table = tables.from_parquet(data, tables.widened(tables.METRICS, data), key)
        if cohort.rule.metric not in table.column_names:
            continue
        columns = table["epoch"].to_pylist(), table[cohort.rule.metric].to_pylist()
        trial = keys[key]
        # Another experiment may have trained a pruned one further, at any time.
        last = gone.get(trial, epoch)
        rows = sorted((e, v) for e, v in zip(*columns, strict=True) if e <= last)
        curves[trial] = [math.nan if value is None else value for _, value in rows]
        # One that diverged before the rung has no value there; one that was done keeps its last.
        if len(rows) < last and not 0 < cohort.epochs[trial] <= len(rows):
            curves[trial].append(math.nan)
    return curves


def _parse(data: bytes, key: str) -> Decision:
    try:
        read = parse_json(data)
        epoch, kept, pruned = read["epoch"], read["kept"], read["pruned"]
        if type(epoch) is not int or key != layout.decision(layout.cohort_of(key), epoch):
            raise ValueError("it is another rung's")
        if not all(isinstance(one, str) for one in (*kept, *pruned)):
            raise ValueError("an id is no text")
        return Decision(epoch, frozenset(kept), frozenset(pruned))
    except (ValueError, KeyError, TypeError) as error:
        fix = "delete it: the next launch decides again, from the same rows"
        raise CorruptData(f"not a decision: {error}", where=key, fix=fix) from error


def make_cohorts(rule: StopRule | None, trials: Mapping[str, tuple[Any, int]]) -> list[Cohort]:
    """Return a cohort for each data set, given those and the numbers of epochs by trial."""
    groups: dict[Any, dict[str, int]] = {}
    for trial, (dataset, epochs) in trials.items():
        groups.setdefault(dataset, {})[trial] = epochs
    return [] if rule is None else [Cohort(rule, group) for group in groups.values()]


def recorded_pruned(store: Store, experiment: str, trials: Mapping[str, Any]) -> dict[str, int]:
    """Return the epoch at which each trial of an experiment was pruned, as it was last launched.

    Args:
        store: The store.
        experiment: Its name.
        trials: The data set of each of its trials, by id.
    """
    if not store.list(layout.DECISIONS):
        return {}
    try:
        stop = parse_json(store.get(layout.experiment(experiment), most=_LARGEST)).get("stop")
        rule = None if stop is None else StopRule.from_parts(stop)
    except (NasSweepError, ValueError, AttributeError):
        return {}  # the commands that need the declaration report what is wrong with it
    cohorts = make_cohorts(rule, {trial: (dataset, 0) for trial, dataset in trials.items()})
    found = read_decisions(store, cohorts)
    return {t: e for one in found.values() for t, e in pruned_trials(one.values()).items()}
