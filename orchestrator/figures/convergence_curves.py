"""The numbers of Figures 3 to 5 and 12 to 16: curves over epochs, by panel and cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.figures.members import COLUMNS, DATASETS, Member, group, read_members
from orchestrator.figures.scales import focus_range
from orchestrator.figures.tracks import Mean, Track, make_track, mean_of
from results_schema.errors import ConfigError

SPANS = 50
"""By default a curve is smoothed over this part of the epochs."""


@dataclass(frozen=True, eq=False)
class Curve:
    """One cell in one panel: its trials over all seeds.

    Attributes:
        index: 0 is the base.
        variant: The cell's name.
        width: Of the normal cell, in units of c.
        depth: Of the normal cell, in edges.
        tracks: One per trial, by seed; empty ones too.
    """

    index: int
    variant: str
    width: float
    depth: int
    tracks: tuple[Track, ...]

    @cached_property
    def mean(self) -> Mean:
        """Over the trials that did not diverge."""
        return mean_of([t for t in self.tracks if t.status != "diverged" and len(t.epochs)])


class Panel(NamedTuple):
    """One quantity of one base, data set and rate, or of a group of its cells.

    Attributes:
        quantity: A column of the metrics.
        learning_rate: At the first epoch.
        base: The published genotype.
        named_dataset: The data set that the experiment names.
        dataset: The one trained on.
        group: Indices of the first and last variant, None without groups.
        curves: By index.
    """

    quantity: str
    learning_rate: float
    base: str
    named_dataset: str
    dataset: str
    group: tuple[int, int] | None
    curves: tuple[Curve, ...]

    @property
    def scale(self) -> tuple[str, str]:
        """Panels that agree in this share the range of their y axis."""
        return self.quantity, self.dataset

    @property
    def tracks(self) -> list[Track]:
        """Of all curves."""
        return [track for curve in self.curves for track in curve.tracks]


@dataclass(frozen=True, eq=False)
class Convergence:
    """All panels.

    Attributes:
        panels: By quantity, learning rate, base, data set and group.
        span: Of the smoothing, in epochs.
        ranges: Of the y axis, by `Panel.scale`; losses in nat, accuracies in percent.
    """

    panels: tuple[Panel, ...]
    span: float
    ranges: Mapping[tuple[str, str], tuple[float, float]]

    @property
    def tracks(self) -> list[Track]:
        """Of the first quantity, each trial once."""
        first = [panel for panel in self.panels if panel.quantity == self.panels[0].quantity]
        return list({t.trial_id: t for panel in first for t in panel.tracks}.values())

    @property
    def epochs(self) -> int:
        """The largest number of epochs trained; 0 before any."""
        return max(track.last for track in self.tracks)

    @property
    def most_seeds(self) -> int:
        """The largest number of trials that one curve stands for."""
        return max(len(curve.tracks) for panel in self.panels for curve in panel.curves)


def convergence_data(
    trials: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    show: Sequence[str] = ("test_loss",),
    groups: int | None = None,
    smoothing: float | None = None,
    range: Mapping[str, tuple[float, float]] | None = None,
) -> Convergence:
    """The numbers of the figure.

    Args:
        trials: As `Results.trials(experiment)` returns them, trained or not.
        metrics: As `Results.metrics(experiment)` returns them.
        show: Columns of the metrics; accuracies come out in percent.
        groups: How many variants stand beside the base in one panel, by index; one left over
            joins the last; None for all.
        smoothing: Span in epochs, see `tracks.smooth`; None for a fiftieth of the epochs.
        range: Ends of the y axis by quantity; without it, what shows most of the smoothed values.

    Raises:
        ConfigError: There are no trials, or a column is lacking or has empty places.
    """
    members = read_members("convergence", trials, COLUMNS, ("status",))
    if lacking := [c for c in ("trial_id", "epoch", *show) if c not in metrics.columns]:
        raise ConfigError(
            f"the metrics of convergence lack {', '.join(lacking)}",
            fix="join the members of an experiment with its metrics",
        )
    columns: Any = metrics[["trial_id", "epoch", *show]]
    rows = {str(trial): frame for trial, frame in columns.groupby("trial_id", sort=False)}
    longest = max(metrics["epoch"].tolist(), default=0)
    span = smoothing or max(1, round(longest / SPANS))
    facets = [
        [(quantity,) for quantity in show],
        sorted(group(members, "learning_rate")),
        list(group(members, "base")),
        list(group(members, *DATASETS)),
    ]
    cells = group(members, "learning_rate", "base", *DATASETS)
    panels: list[Panel] = []
    for (quantity,), *rest in product(*facets):
        rate, base, named, dataset = key = tuple(value for part in rest for value in part)
        curves = [_curve(m, rows, quantity, span) for m in _cells(cells.get(key, []))]
        for places, some in _grouped(curves, groups):
            panels.append(Panel(quantity, rate, base, named, dataset, places, tuple(some)))
    return Convergence(tuple(panels), span, _ranges(panels, range or {}))


def _cells(members: Sequence[Member]) -> list[list[Member]]:
    cells = sorted(group(members, "index", "variant").items())
    return [sorted(cell, key=lambda member: member["seed"]) for _, cell in cells]


def _curve(
    members: Sequence[Member], rows: Mapping[str, pd.DataFrame], quantity: str, span: float
) -> Curve:
    unit = 100 if quantity.endswith("accuracy") else 1
    tracks = []
    for member in members:
        frame = rows.get(member["trial_id"])
        epochs = np.zeros(0) if frame is None else frame["epoch"].to_numpy()
        values = np.zeros(0) if frame is None else unit * frame[quantity].to_numpy(float)
        status = "" if pd.isna(member["status"]) else str(member["status"])
        tracks.append(
            make_track(member["trial_id"], int(member["seed"]), status, epochs, values, span)
        )
    first = members[0]
    return Curve(
        int(first["index"]),
        str(first["variant"]),
        float(first["width"]),
        int(first["depth"]),
        tuple(tracks),
    )


def _grouped(
    curves: Sequence[Curve], size: int | None
) -> Iterator[tuple[tuple[int, int] | None, list[Curve]]]:
    """The base with each group of its variants; all together where there are no groups."""
    bases = [curve for curve in curves if curve.index == 0]
    variants = [curve for curve in curves if curve.index]
    if size is None or not variants:
        if curves:
            yield None, list(curves)
        return
    starts = list(range(0, len(variants), size))
    # One left over would have a panel to itself, with little to be compared to.
    if size > 1 and len(starts) > 1 and len(variants) - starts[-1] == 1:
        starts.pop()
    for start, end in pairwise([*starts, len(variants)]):
        some = variants[start:end]
        yield (some[0].index, some[-1].index), [*bases, *some]


def _ranges(
    panels: Sequence[Panel], given: Mapping[str, tuple[float, float]]
) -> dict[tuple[str, str], tuple[float, float]]:
    ranges: dict[tuple[str, str], tuple[float, float]] = {}
    for scale in dict.fromkeys(panel.scale for panel in panels):
        alike = [track for panel in panels if panel.scale == scale for track in panel.tracks]
        values = np.concatenate([track.smoothed for track in alike] or [np.zeros(0)])
        accuracy = scale[0].endswith("accuracy")
        # A span that is lost in the rounding of huge losses would be no span.
        least = 1.0 if accuracy else max(0.05, 1e-6 * float(np.nanmax(values, initial=0.0)))
        low, high = focus_range(values.tolist(), least=least)
        if accuracy:
            low, high = max(low, 0.0), min(high, 100.0)
        ranges[scale] = given.get(scale[0], (max(low, 0.0), high))
    return ranges
