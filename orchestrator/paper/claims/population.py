"""The trials that claims are about, with their cell, setting, curve and measures of convergence."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.config.record import stated_target
from orchestrator.config.registry import OUTCOMES
from orchestrator.figures.evidence import (
    BASE,
    CELL,
    GROUP,
    STANDARD_RATE,
    TRAITS,
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


def spec_of(text: Any) -> TrialSpec | None:
    """Return the spec in a row of trials; others may have written none, or another text."""
    try:
        return TrialSpec.from_json(text) if isinstance(text, str) and text else None
    except SpecError:
        return None


def _traits(row: dict[Any, Any]) -> dict[str, Any]:
    """Return what a trial's spec says of it; without one what others filled in.

    That is its setting (`evidence.setting_key`), the planned epochs, the network's parameters that
    get a gradient, and of the normal cell the width over live nodes in units of c, as Table 2
    prints it, the depth in edges, skip connections into live nodes, and inputs that reach the
    output.
    """
    spec = spec_of(row["spec"])
    if spec is None:
        shape = {k: math.nan if row[k] is None else float(row[k]) for k in ("width", "depth")}
        return {"setting": str(row["dataset"])} | shape
    cell = spec.genotype.normal
    live = cell.live_nodes
    edges = [e for node, edges in enumerate(cell.nodes, start=2) if node in live for e in edges]
    return {
        "setting": setting_key(spec),
        "planned": spec.recipe.epochs,
        "width": cell.width,
        "depth": cell.depth,
        "live_parameters": _live_parameters(spec.genotype, spec.network, spec.dataset),
        "skips": sum(edge.op == "skip_connect" for edge in edges),
        "inputs": len(used_inputs(cell)),
    }


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
    """Return the measures of each ended trial.

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
    planned, target = trial["planned"], trial["target"]
    least, most = (worst(rises=rises) if diverged else math.nan for rises in (True, False))
    sound = np.isfinite(accuracies)
    found: dict[str, float] = {}
    for share in SHARES:
        reached = epochs[sound & (accuracies >= share / 100 * target - 1e-12)]
        first = float(reached[0]) if len(reached) else worst(rises=False)
        found[f"epochs_{share}"] = math.nan if math.isnan(target) else first
    for share in BEGINNINGS:
        last = max(1, round(share / 100 * planned))
        begin = accuracies[sound & (epochs <= last)]
        found[f"area_{share}"] = float(begin.mean()) if len(begin) >= last else least
    middle = (epochs >= JITTER_FROM * planned) & (epochs <= JITTER_TO * planned)
    steps = np.abs(np.diff(accuracies[middle], n=2))
    jitter = float(steps.mean()) if len(steps) >= LEAST_STEPS and not diverged else most
    long_enough = (JITTER_TO - JITTER_FROM) * planned > LEAST_STEPS
    found["jitter"] = jitter if long_enough else math.nan
    found["final"] = least if diverged else float(accuracies[-1])
    return found


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
        # The tables of others take time to read. Without a name whole folders are read, whose files
        # may hold more than one trial.
        self.alone = self._experiments[0] if experiments and len(experiments) == 1 else None
        self._whole: Population | None = None
        self._parts: dict[tuple[str, ...], list[Population]] = {}

    @property
    def without_cells(self) -> bool:
        """Whether there are trials, all of them of programs."""
        ids = [id_ for name in self._experiments for id_ in self.results.members(name)["trial_id"]]
        return bool(ids) and all(map(is_program, ids))

    def scopes(self, datasets: tuple[str, ...]) -> list[Population]:
        """Split the population into parts whose trials a finding may combine.

        Args:
            datasets: Those that the paper's claim names; see `evidence.scopes`.
        """
        if datasets not in self._parts:
            split = scopes(self.trials, datasets) if len(self.trials) else []
            # Copies, so that tables are read once for all parts.
            parts: list[Population] = [copy.copy(self) for _ in split]
            for part, trials in zip(parts, split, strict=True):
                part._whole, part.trials = self, trials.reset_index(drop=True)
                vars(part).pop("surfaces", None)
            self._parts[datasets] = parts
        return self._parts[datasets]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each ended trial and name, a trial of several experiments once.

        It has the members' columns, the trial's, those of `_traits`, kind, and the measures of
        `convergence`; if no trial has ended, the first two alone.
        """
        members = self._members()
        ended: Any = self.results.trials(self.alone)
        columns = ["trial_id", "status", "spec", "parameters", *OUTCOMES, *_PRICE]
        fresh = ended[columns].drop_duplicates("trial_id")
        rows: Any = members.merge(fresh, on="trial_id", how="inner")
        rows = rows[rows["status"].isin(["done", "diverged"])].reset_index(drop=True)
        if rows.empty:
            return rows
        records = rows.to_dict("records")
        columns = ["setting", "planned", *TRAITS]
        found = pd.DataFrame([_traits(row) for row in records], columns=columns)
        rows = rows.drop(columns=["width", "depth"]).join(found)
        rows["kind"] = [kind(row["base"], row["variant"], row["index"]) for row in records]
        curves: Any = self.curves
        curves = curves[curves["trial_id"].isin(rows["trial_id"])]
        last = rows["trial_id"].map(curves.groupby("trial_id")["epoch"].max())
        longest = last.groupby(rows["setting"]).transform("max").fillna(1)
        rows["planned"] = rows["planned"].fillna(longest)
        # Imported trials may have no base; their experiment says what stands in for its accuracy.
        bases = rows[(rows["kind"] == BASE) & (rows["status"] == "done")]
        targets = bases.groupby(GROUP)["test_accuracy"].mean().rename("target").reset_index()
        rows = rows.merge(targets, on=GROUP, how="left")
        stated = {name: stated_target(self.results.store, name) for name in self._experiments}
        rows["target"] = rows["target"].fillna(rows["experiment"].map(stated).astype(float))
        measures = convergence(curves, rows.drop_duplicates("trial_id"))
        return rows.merge(measures, on="trial_id", how="left")

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Test accuracy by trial_id and epoch, each there once."""
        rows: Any = self.results.metrics(self.alone)
        rows = rows[["trial_id", "epoch", "test_accuracy"]]
        return rows.drop_duplicates(["trial_id", "epoch"])

    @cached_property
    def surfaces(self) -> pd.DataFrame:
        """Finished surfaces of these trials after training, with the columns of their table."""
        found: Any = self._whole.surfaces if self._whole else self.results.surfaces()
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
        """Return the trials at a rate; None for the paper's 0.025, or else for the commonest."""
        rows: Any = self.trials
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
        members = pd.concat([members[~direct], members[direct]])
        return members.drop_duplicates(["trial_id", *CELL]).reset_index(drop=True)
