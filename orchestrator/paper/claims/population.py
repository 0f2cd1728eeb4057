"""The trials that claims are about, with their cell, setting, curve and measures of convergence."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.config.record import stated_target
from orchestrator.config.registry import OUTCOMES
from orchestrator.figures.evidence import (
    BASE,
    CELL,
    GROUP,
    STANDARD_RATE,
    kind,
    scopes,
    setting_key,
    worst,
)
from results_schema import layout
from results_schema.errors import CorruptData, SpecError
from results_schema.genotype import Genotype
from results_schema.program import is_program
from results_schema.results import Results
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.cost import count_on
from workers.cells.topology import used_inputs


class Traits(NamedTuple):
    """Of one trial.

    Attributes:
        setting: Key of what trials that may be compared have in common (`evidence.Setting`).
        planned: Epochs of the recipe; NaN without a spec.
        width: Of the normal cell over its live nodes, in units of c, as Table 2 prints it.
        depth: Of the normal cell, in edges.
        live_parameters: Parameters that get a gradient; NaN without a spec.
        skips: Skip connections into live nodes of the normal cell; NaN without a spec.
        inputs: How many of the normal cell's inputs reach its output; NaN without a spec.
    """

    setting: str
    planned: float
    width: float
    depth: float
    live_parameters: float
    skips: float
    inputs: float


def traits(row: dict[Any, Any]) -> Traits:
    """The traits of a trial.

    Args:
        row: dataset, width, depth and spec, which may be null in a store that others filled.
    """
    spec = _spec(row["spec"])
    if spec is None:
        width, depth = (math.nan if row[k] is None else float(row[k]) for k in ("width", "depth"))
        return Traits(str(row["dataset"]), math.nan, width, depth, *[math.nan] * 3)
    cell = spec.genotype.normal
    live = cell.live_nodes
    edges = [e for node, edges in enumerate(cell.nodes, start=2) if node in live for e in edges]
    return Traits(
        setting=setting_key(spec),
        planned=spec.recipe.epochs,
        width=cell.width,
        depth=cell.depth,
        live_parameters=_live_parameters(spec.genotype, spec.network, spec.dataset),
        skips=sum(edge.op == "skip_connect" for edge in edges),
        inputs=len(used_inputs(cell)),
    )


def _spec(text: Any) -> TrialSpec | None:
    try:
        return TrialSpec.from_json(text) if isinstance(text, str) and text else None
    except SpecError:
        return None


@lru_cache(maxsize=10_000)
def _live_parameters(genotype: Genotype, network: NetworkSpec, dataset: str) -> float:
    try:
        return count_on(genotype, network, dataset).live_parameters
    except SpecError:
        return math.nan


SHARES = (50, 90, 95)
"""Percents of the base's final accuracy that a trial is timed to."""

BEGINNINGS = (10, 20)
"""Percents of all epochs over which accuracy is averaged."""

JITTER_FROM, JITTER_TO = 1 / 6, 1 / 2
"""Where the jitter is measured, as shares of all epochs: 100 to 300 of the paper's 600."""

LEAST_STEPS = 10
"""Second differences in the middle of training without which there is no jitter."""

COLUMNS = (*(f"epochs_{s}" for s in SHARES), *(f"area_{b}" for b in BEGINNINGS), "jitter", "final")


def convergence(metrics: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """The measures of each ended trial.

    A diverged trial has the worst value (`evidence.worst`) of what it did not reach: a threshold, a
    steady middle, its final accuracy, and the mean accuracy of a beginning that it did not finish.

    Args:
        metrics: Columns trial_id, epoch and test_accuracy.
        trials: Columns trial_id, status, planned (epochs of the recipe) and target (final
            accuracy of the trial's base; NaN if unknown, and then so are its times).

    Returns:
        A row for each of `trials`, in their order, under trial_id:
        `epochs_50`, `epochs_90`, `epochs_95`: the first epoch that reaches so many percent of the
        target; `area_10`, `area_20`: mean accuracy over the first so many percent of epochs;
        `jitter`: mean second difference of accuracy over epochs, in magnitude, in the middle of
        training, which the slope of the curve does not enter; `final`: accuracy after the last
        epoch. NaN where rows are missing.
    """
    ordered: Any = metrics.sort_values("epoch")
    curves = {
        name: (part["epoch"].to_numpy(), part["test_accuracy"].to_numpy(dtype=float))
        for name, part in ordered.drop_duplicates(["trial_id", "epoch"]).groupby("trial_id")
    }
    rows = []
    for trial in trials.to_dict("records"):
        epochs, accuracies = curves.get(trial["trial_id"], (np.empty(0), np.empty(0)))
        rows.append({"trial_id": trial["trial_id"]} | _measure(trial, epochs, accuracies))
    return pd.DataFrame(rows, columns=["trial_id", *COLUMNS])


def _measure(trial: dict[Any, Any], epochs: np.ndarray, accuracies: np.ndarray) -> dict[str, float]:
    diverged = trial["status"] == "diverged"
    if not len(epochs) and not diverged:
        return dict.fromkeys(COLUMNS, math.nan)
    planned = trial["planned"]
    sound = np.isfinite(accuracies)
    found: dict[str, float] = {}
    for share in SHARES:
        reached = epochs[sound & (accuracies >= share / 100 * trial["target"] - 1e-12)]
        unknown = math.isnan(trial["target"])
        found[f"epochs_{share}"] = (
            math.nan if unknown else float(reached[0]) if len(reached) else worst(rises=False)
        )
    for share in BEGINNINGS:
        last = max(1, round(share / 100 * planned))
        begin = accuracies[sound & (epochs <= last)]
        whole = len(begin) >= last
        found[f"area_{share}"] = (
            float(begin.mean()) if whole else worst(rises=True) if diverged else math.nan
        )
    long_enough = (JITTER_TO - JITTER_FROM) * planned > LEAST_STEPS
    jitter = worst(rises=False) if diverged else _jitter(epochs, accuracies, planned)
    found["jitter"] = jitter if long_enough else math.nan
    final = float(accuracies[-1]) if len(accuracies) else math.nan
    found["final"] = worst(rises=True) if diverged else final
    return found


def _jitter(epochs: np.ndarray, accuracies: np.ndarray, planned: int) -> float:
    middle = (epochs >= JITTER_FROM * planned) & (epochs <= JITTER_TO * planned)
    steps = np.abs(np.diff(accuracies[middle], n=2))
    return float(steps.mean()) if len(steps) >= LEAST_STEPS else math.nan


_NEEDED = ("base", "variant", "index", "dataset", "learning_rate", "trial_id")
"""Columns of the members without which no trial can be compared."""


_PRICE = ("gpu", "gpu_share", "pack_size")
"""Columns by which the time of a trial is that of a GPU."""


class Population:
    """The ended trials of experiments, each counted once.

    Args:
        results: The store.
        experiments: Names of experiments in it; None for all.

    Raises:
        ConfigError: The store lacks an experiment.
        CorruptData: A table is damaged.
    """

    def __init__(self, results: Results, experiments: Sequence[str] | None = None) -> None:
        self.results = results
        self._experiments = results.experiments() if experiments is None else list(experiments)
        self.alone = self._experiments[0] if experiments and len(experiments) == 1 else None
        self._whole: Population | None = None
        self._parts: dict[tuple[str, ...], list[Population]] = {}

    def scopes(self, datasets: tuple[str, ...]) -> list[Population]:
        """Split the population into parts whose trials a finding may combine.

        Args:
            datasets: Those that the paper's claim names; see `evidence.scopes`.
        """
        if datasets not in self._parts:
            split = scopes(self.trials, datasets) if len(self.trials) else []
            self._parts[datasets] = [self._part(trials) for trials in split]
        return self._parts[datasets]

    def _part(self, trials: pd.DataFrame) -> Population:
        """Return the same with some of the trials, so that tables are read once for all parts."""
        part = copy.copy(self)
        part._whole, part._parts = self, {}
        part.trials = trials.reset_index(drop=True)
        for name in ("surfaces", "points"):
            vars(part).pop(name, None)
        return part

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each ended trial and name, a trial of several experiments once.

        It has the members' columns, the trial's, `Traits`, kind, and the measures of
        `convergence`.
        """
        members = self._members()
        ended: Any = self._of(self.results.trials)
        columns = ["trial_id", "status", "spec", "parameters", *OUTCOMES, *_PRICE]
        fresh = ended[columns].drop_duplicates("trial_id")
        rows: Any = members.merge(fresh, on="trial_id", how="inner")
        rows = rows[rows["status"].isin(["done", "diverged"])].reset_index(drop=True)
        if rows.empty:
            return rows
        records = rows.to_dict("records")
        found = pd.DataFrame([traits(row) for row in records], columns=list(Traits._fields))
        rows = rows.drop(columns=["width", "depth"]).join(found)
        rows["kind"] = [kind(row["base"], row["variant"], row["index"]) for row in records]
        curves: Any = self.curves
        curves = curves[curves["trial_id"].isin(rows["trial_id"])]
        rows["planned"] = rows["planned"].fillna(self._longest(rows, curves))
        # Settings that others filled in have one data set each, so a longer run is one's own.
        rows["target"] = _targets(rows).fillna(rows["experiment"].map(self._stated_targets()))
        measures = convergence(curves, rows.drop_duplicates("trial_id"))
        return rows.merge(measures, on="trial_id", how="left")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Test accuracy by trial_id and epoch, each there once."""
        rows: Any = self._of(self.results.metrics)
        rows = rows[["trial_id", "epoch", "test_accuracy"]]
        return rows.drop_duplicates(["trial_id", "epoch"])

    @cached_property
    def surfaces(self) -> pd.DataFrame:
        """Finished surfaces of these trials after training, with the columns of their table."""
        found: Any = self._whole.surfaces if self._whole else self.results.surfaces()
        if self.trials.empty:
            return found.iloc[:0]
        kept = found["status"].isin(["done", "diverged"]) & (found["epoch"] > 0)
        return found[kept & found["trial_id"].isin(self.trials["trial_id"])]

    @cached_property
    def points(self) -> pd.DataFrame:
        """Measured points of `surfaces`: surface_id, alpha, beta, variance."""
        if self._whole:
            return self._whole.points
        points: Any = self.results.points()
        points = points[["surface_id", "alpha", "beta", "variance"]]
        return points.drop_duplicates(["surface_id", "alpha", "beta"])

    def at_rate(self, rate: float | None = None) -> pd.DataFrame:
        """The trials at a learning rate; None for the paper's 0.025, or else the commonest."""
        rows: Any = self.trials
        if rows.empty:
            return rows
        if rate is None:
            rates = rows["learning_rate"].round(12)
            rate = STANDARD_RATE if (rates == STANDARD_RATE).any() else float(rates.mode()[0])
        return rows[np.isclose(rows["learning_rate"], rate)]

    def _members(self) -> pd.DataFrame:
        parts = [self.results.members(name) for name in self._experiments]
        if not parts:
            return self.results.members()
        members: Any = pd.concat(parts, ignore_index=True)
        # The claims are about cells, which a program has none of.
        members = members[~members["trial_id"].map(is_program).astype(bool)]
        lacking = [name for name in _NEEDED if members[name].isna().any()]
        if lacking:
            raise CorruptData(
                f"members lack a value of {', '.join(lacking)}",
                where=layout.MEMBERS,
                fix="fill these columns of the members' tables (docs/claims.md lists them)",
            )
        members["named_dataset"] = members["named_dataset"].fillna(members["dataset"])
        # A trial may be named directly and by a profile that puts it in place of another.
        direct = members["named_dataset"] == members["dataset"]
        members = members.assign(direct=direct).sort_values("direct", kind="stable")
        members = members.drop(columns="direct")
        return members.drop_duplicates(["trial_id", *CELL]).reset_index(drop=True)

    def _stated_targets(self) -> dict[str, float]:
        """Return the accuracy that stands in for a base's, of experiments imported without one."""
        found = {name: stated_target(self.results.store, name) for name in self._experiments}
        return {name: target for name, target in found.items() if target is not None}

    def _of(self, read: Any) -> pd.DataFrame:
        """A table, of the experiment alone if just one was named, since others take time to read.

        Without one the whole folder is read, so that files may hold more than one trial.
        """
        return read(self.alone) if self.alone else read()

    @staticmethod
    def _longest(rows: Any, curves: Any) -> pd.Series:
        last = rows["trial_id"].map(curves.groupby("trial_id")["epoch"].max())
        return last.groupby(rows["setting"]).transform("max").fillna(1)


def _targets(rows: Any) -> pd.Series:
    """Mean final accuracy of each trial's base in its setting and at its rate."""
    bases = rows[(rows["kind"] == BASE) & (rows["status"] == "done")]
    means = bases.groupby(GROUP)["test_accuracy"].mean().rename("target").reset_index()
    return rows[GROUP].merge(means, on=GROUP, how="left")["target"]
