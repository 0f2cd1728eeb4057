"""The numbers of Figure 9: test accuracy at convergence of each base and its variants."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from orchestrator.figures.evidence import counted_accuracy
from orchestrator.figures.members import COLUMNS, DATASETS, Member, group, read_members
from orchestrator.figures.scales import focus_range

RESULTS = ("status", "test_accuracy", "parameters")
"""What is read of a trial."""


class Run(NamedTuple):
    """One trained trial.

    Attributes:
        trial_id: The trial.
        seed: Of the training.
        accuracy: As it counts (`orchestrator.figures.evidence`), in percent.
        last: After the last epoch, in percent; NaN if a diverged trial has none.
    """

    trial_id: str
    seed: int
    accuracy: float
    last: float


@dataclass(frozen=True)
class Point:
    """One cell at one learning rate: its trials over all seeds.

    Attributes:
        index: Place on the axis; 0 is the base.
        variant: The cell's name.
        width: Of the normal cell, in units of c.
        depth: Of the normal cell, in edges.
        parameters: Trainable numbers of the network; None before any trial has ended.
        done: The trials that ended well, by seed.
        diverged: The trials that diverged, by seed.
        missing: The ids of the trials without a result, by seed.
    """

    index: int
    variant: str
    width: float
    depth: int
    parameters: int | None
    done: tuple[Run, ...]
    diverged: tuple[Run, ...]
    missing: tuple[str, ...]

    @property
    def ended(self) -> tuple[Run, ...]:
        """The trials that have a result."""
        return *self.done, *self.diverged

    @property
    def mean(self) -> float:
        """Mean accuracy of the trials that ended, in percent; NaN without one."""
        ended = self.ended
        return math.fsum(run.accuracy for run in ended) / len(ended) if ended else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation over seeds (n - 1), in points of a percent; NaN for n < 2."""
        ended = self.ended
        if len(ended) < 2:
            return math.nan
        squares = math.fsum((run.accuracy - self.mean) ** 2 for run in ended)
        return math.sqrt(squares / (len(ended) - 1))


class Series(NamedTuple):
    """The cells of one panel at one learning rate, by index."""

    learning_rate: float
    points: tuple[Point, ...]

    @property
    def base(self) -> Point | None:
        """The cell of index 0."""
        return next((point for point in self.points if point.index == 0), None)

    @property
    def base_accuracy(self) -> float:
        """Mean accuracy of the base, in percent; NaN while it has none."""
        return self.base.mean if self.base else math.nan


class Panel(NamedTuple):
    """One base on one data set.

    Attributes:
        base: The published genotype.
        named_dataset: The data set that the experiment names.
        dataset: The one trained on.
        series: One per learning rate, ascending.
        low: Lower end of the range that shows the differences, in percent.
        high: Its upper end.
    """

    base: str
    named_dataset: str
    dataset: str
    series: tuple[Series, ...]
    low: float
    high: float

    @property
    def has_below(self) -> bool:
        """Whether a trial, or the mean of a cell, lies below the range."""
        return any(accuracy < self.low for accuracy in self._accuracies)

    @property
    def has_above(self) -> bool:
        """Whether a trial lies above the range."""
        return any(accuracy > self.high for accuracy in self._accuracies)

    @property
    def _accuracies(self) -> list[float]:
        points = [point for line in self.series for point in line.points]
        return [a for p in points for a in (p.mean, *(run.accuracy for run in p.ended))]


class AccuracyByIndex(NamedTuple):
    """Panels by base, then data set, both in order of first appearance."""

    panels: tuple[Panel, ...]

    @property
    def points(self) -> list[Point]:
        """The cells of all panels and learning rates."""
        return [point for panel in self.panels for line in panel.series for point in line.points]

    @property
    def learning_rates(self) -> list[float]:
        """All of them, ascending."""
        return sorted({line.learning_rate for panel in self.panels for line in panel.series})

    @property
    def most_seeds(self) -> int:
        """The largest number of trials that one point stands for."""
        return max(len(p.ended) + len(p.missing) for p in self.points)


def accuracy_by_index_data(trials: pd.DataFrame) -> AccuracyByIndex:
    """Accuracies by base and data set, learning rate and cell.

    A trial counts as done or diverged by its status, and else as missing: it has failed, is not
    trained yet, or is done without an accuracy. A row that says again what another said of the
    same member counts once.

    Args:
        trials: One row per member with `members.COLUMNS` and `RESULTS`; accuracies from 0 to 1.

    Raises:
        ConfigError: There are no trials, or a column is lacking or has empty places.
    """
    members = read_members("accuracy_by_index", trials, COLUMNS, RESULTS)
    # First appearances, not the alphabet: the experiment's order is the reader's.
    bases, datasets = list(group(members, "base")), list(group(members, *DATASETS))
    groups = group(members, "base", *DATASETS)
    order = [(*base, *dataset) for base in bases for dataset in datasets]
    return AccuracyByIndex(tuple(_panel(groups[key]) for key in order if key in groups))


def _panel(members: list[Member]) -> Panel:
    lines = sorted(group(members, "learning_rate").items())
    series = tuple(Series(float(rate), _points(line)) for (rate,), line in lines)
    done = [run.accuracy for line in series for point in line.points for run in point.done]
    # A base that diverged would stretch the range down to where no difference can be seen.
    bases = [line.base_accuracy for line in series if line.base and not line.base.diverged]
    low, high = focus_range(done, always=bases) if done else (0.0, 100.0)
    first = members[0]
    return Panel(first["base"], first["named_dataset"], first["dataset"], series, low, high)


def _points(members: list[Member]) -> tuple[Point, ...]:
    cells = sorted(group(members, "index", "variant").items())
    return tuple(_point(sorted(cell, key=lambda member: member["seed"])) for _, cell in cells)


def _point(members: list[Member]) -> Point:
    done = [m for m in members if m["status"] == "done" and not pd.isna(m["test_accuracy"])]
    diverged = [m for m in members if m["status"] == "diverged"]
    sizes = [m["parameters"] for m in (*done, *diverged) if not pd.isna(m["parameters"])]
    first = members[0]
    return Point(
        index=int(first["index"]),
        variant=str(first["variant"]),
        width=float(first["width"]),
        depth=int(first["depth"]),
        parameters=int(sizes[0]) if sizes else None,
        done=_runs(done),
        diverged=_runs(diverged),
        missing=tuple(m["trial_id"] for m in members if m not in done and m not in diverged),
    )


def _runs(members: list[Member]) -> tuple[Run, ...]:
    return tuple(
        Run(
            str(member["trial_id"]),
            int(member["seed"]),
            100 * counted_accuracy(member["status"], member["test_accuracy"]),
            math.nan if pd.isna(member["test_accuracy"]) else 100 * float(member["test_accuracy"]),
        )
        for member in members
    )
