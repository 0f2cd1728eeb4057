"""The trials that claims are about: every distinct ended one, with its cell, setting and curve."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import STANDARD_RATE, scopes
from orchestrator.paper.claims.convergence import convergence
from orchestrator.paper.claims.traits import BASE, Traits, kind, traits
from results_schema.results import Results

CELL = ["base", "variant"]
"""What makes two trials ones of the same cell."""


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
        self._alone = self._experiments[0] if experiments and len(experiments) == 1 else None
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
        told = ["trial_id", "status", "test_accuracy", "spec"]
        fresh = ended[told].drop_duplicates("trial_id")
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
        rows["target"] = _targets(rows)
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
        members["named_dataset"] = members["named_dataset"].fillna(members["dataset"])
        # A trial may be named directly and by a profile that puts it in place of another.
        direct = members["named_dataset"] == members["dataset"]
        members = members.assign(direct=direct).sort_values("direct", kind="stable")
        members = members.drop(columns="direct")
        return members.drop_duplicates(["trial_id", *CELL]).reset_index(drop=True)

    def _of(self, read: Any) -> pd.DataFrame:
        """A table, of the experiment alone if just one was named, since others take time to read.

        Without one the whole folder is read, so that files may hold more than one trial.
        """
        return read(self._alone) if self._alone else read()

    @staticmethod
    def _longest(rows: Any, curves: Any) -> pd.Series:
        last = rows["trial_id"].map(curves.groupby("trial_id")["epoch"].max())
        return last.groupby(rows["setting"]).transform("max").fillna(1)


def _targets(rows: Any) -> pd.Series:
    """Mean final accuracy of each trial's base in its setting and at its rate."""
    keys = ["base", "setting", "learning_rate"]
    bases = rows[(rows["kind"] == BASE) & (rows["status"] == "done")]
    means = bases.groupby(keys)["test_accuracy"].mean().rename("target").reset_index()
    return rows[keys].merge(means, on=keys, how="left")["target"]
