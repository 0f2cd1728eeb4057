"""Numbers of Figures 3 to 5 and 12 to 16: losses and accuracies over epochs, by panel and cell.

`orchestrator.figures.convergence_drawing` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, product
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.figures.members import (
    AXES,
    COLUMNS,
    DATASETS,
    LEVEL,
    Cell,
    Member,
    cells_of,
    group,
    name_value,
    read_members,
    require,
    require_held_out,
    to_cell,
)
from orchestrator.figures.scales import focus_range

SPANS = 50
"""By default a curve is smoothed over this part of the epochs."""


@dataclass(frozen=True, eq=False)
class Track:
    """One trial's numbers, from the first epoch to the last that is finite."""

    trial_id: str
    status: str  # "done", "diverged", or "" if not ended
    last: int  # epoch that was trained; 0 without any
    epochs: np.ndarray  # int32 [E], rising; a page is smaller than with int64
    values: np.ndarray  # float64 [E]; NaN where not finite
    smoothed: np.ndarray  # float64 [E]; see `smooth`


@dataclass(frozen=True, eq=False)
class Curve:
    """One cell in one panel: its trials over all seeds, by seed, and empty ones too."""

    cell: Cell
    tracks: tuple[Track, ...]

    @property
    def kept(self) -> list[Track]:
        """Trials that have begun and did not diverge."""
        return [t for t in self.tracks if t.status != "diverged" and len(t.epochs)]

    @cached_property
    def mean(self) -> pd.DataFrame:
        """Mean of these trials by epoch; see `mean_of`."""
        return mean_of(self.kept)


class CurvePanel(NamedTuple):
    """One quantity of one base, dataset and rate, or of a group of its cells."""

    quantity: str  # column of the metrics
    learning_rate: float
    base: str
    named_dataset: str  # that the experiment names
    dataset: str  # trained on
    group: tuple[int, int] | None  # indices of the first and last variant; None without groups
    curves: tuple[Curve, ...]  # by index

    @property
    def scale(self) -> tuple[str, str]:
        """Panels that agree in this share the range of their y axis."""
        return self.quantity, self.dataset.partition(AXES)[0]

    @property
    def tracks(self) -> list[Track]:
        """Tracks of all curves."""
        return [track for curve in self.curves for track in curve.tracks]


@dataclass(frozen=True, eq=False)
class Convergence:
    """Panels by quantity, learning rate, base, dataset and group.

    `span` is that of the smoothing, in epochs, and `ranges` holds the ends of the y axis by
    `CurvePanel.scale`; losses in nat, accuracies in percent.
    """

    panels: tuple[CurvePanel, ...]
    span: float
    ranges: Mapping[tuple[str, str], tuple[float, float]]

    @property
    def tracks(self) -> list[Track]:
        """Tracks of the first quantity, each trial once."""
        first = [panel for panel in self.panels if panel.quantity == self.panels[0].quantity]
        return list({t.trial_id: t for panel in first for t in panel.tracks}.values())

    @property
    def epochs(self) -> int:
        """Largest number of epochs trained; 0 before any."""
        return max(track.last for track in self.tracks)

    @property
    def most_seeds(self) -> int:
        """Largest number of trials that one curve stands for."""
        return max(len(curve.tracks) for panel in self.panels for curve in panel.curves)


def convergence_data(
    trials: pd.DataFrame,
    metrics: pd.DataFrame,
    *,
    show: Sequence[str] = ("test_loss",),
    groups: int | None = None,
    smoothing: float | None = None,
    range: Mapping[str, tuple[float, float]] | None = None,
    colour: str | None = None,
) -> Convergence:
    """Return the curves of all panels, which are the product of what differs.

    Args:
        trials: The experiment's trials, trained or not.
        metrics: Their epochs.
        show: Columns of the metrics; accuracies are converted to percent.
        groups: Number of variants beside the base in one panel, by index; a single one left over
            joins the last panel. None for all variants.
        smoothing: Span in epochs (see `smooth`); None for a fiftieth of the epochs.
        range: Ends of the y axis by quantity; by default, what shows most of the smoothed values.
        colour: Column of an axis; each of its values has a curve of every cell.

    Raises:
        ConfigError: There are no trials, or a column is absent or has missing values.
    """
    columns = [*COLUMNS, *([colour] if colour else [])]
    members = read_members("convergence", trials, columns, ("status",))
    for member in members if colour else ():
        member[LEVEL] = name_value(str(colour), member[colour])
    columns = ["trial_id", "epoch", *show]
    require("convergence", "metrics", metrics, (), columns)
    require_held_out("convergence", metrics, show if len(metrics) else ())
    wanted: Any = metrics[columns]
    rows = {str(trial): frame for trial, frame in wanted.groupby("trial_id", sort=False)}
    span = smoothing or max(1, round(max(metrics["epoch"].tolist(), default=0) / SPANS))
    facets = [
        [(quantity,) for quantity in show],
        sorted(group(members, "learning_rate")),
        list(group(members, "base")),
        list(group(members, *DATASETS)),
    ]
    cells = group(members, "learning_rate", "base", *DATASETS)
    panels: list[CurvePanel] = []
    for (quantity,), *rest in product(*facets):
        rate, base, named, dataset = key = tuple(value for part in rest for value in part)
        curves = [_curve(one, rows, quantity, span) for one in cells_of(cells.get(key, []))]
        for ends, some in _grouped(curves, groups):
            panels.append(CurvePanel(quantity, rate, base, named, dataset, ends, tuple(some)))
    return Convergence(tuple(panels), span, _ranges(panels, range or {}))


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
        tracks.append(make_track(member["trial_id"], status, epochs, values, span))
    return Curve(to_cell(members[0]), tuple(tracks))


def _grouped(
    curves: Sequence[Curve], size: int | None
) -> Iterator[tuple[tuple[int, int] | None, Sequence[Curve]]]:
    """Yield the base with each group of its variants; all together without groups."""
    bases = [curve for curve in curves if curve.cell.index == 0]
    variants = [curve for curve in curves if curve.cell.index]
    if size is None or not variants:
        if curves:
            yield None, curves
        return
    starts = list(range(0, len(variants), size))
    # One left over would have a panel to itself, with little to be compared to.
    if size > 1 and len(starts) > 1 and len(variants) - starts[-1] == 1:
        starts.pop()
    for start, end in pairwise([*starts, len(variants)]):
        some = variants[start:end]
        yield (some[0].cell.index, some[-1].cell.index), [*bases, *some]


def _ranges(
    panels: Sequence[CurvePanel], given: Mapping[str, tuple[float, float]]
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
            high = min(high, 100.0)
        ranges[scale] = given.get(scale[0], (max(low, 0.0), high))
    return ranges


def make_track(
    trial_id: str, status: str, epochs: np.ndarray, values: np.ndarray, span: float
) -> Track:
    """Return a track of rows in any order, without what follows the last finite value.

    Of rows of the same epoch the first counts.
    """
    epochs, places = np.unique(np.asarray(epochs, np.int32), return_index=True)
    values = np.asarray(values, float)[places]
    values = np.where(np.isfinite(values), values, np.nan)
    last = int(epochs[-1]) if len(epochs) else 0
    finite = np.flatnonzero(np.isfinite(values))
    kept = slice(0, int(finite[-1]) + 1 if len(finite) else 0)
    values = values[kept]
    return Track(trial_id, status, last, epochs[kept], values, smooth(values, span))


def smooth(values: np.ndarray, span: float) -> np.ndarray:
    """Return the exponentially weighted mean of each value and those before it; NaN stays NaN.

    A value k epochs back weighs (1 − 2 / (span + 1))ᵏ, and the weights are divided by their sum,
    so that the first values are not drawn towards 0. A span of 1 changes nothing.

    Args:
        values: Values by epoch, float64 [E].
        span: Span in epochs, at least 1.
    """
    if not len(values):
        return values
    means = pd.Series(values).ewm(span=span, adjust=True).mean().to_numpy()
    return np.where(np.isnan(values), np.nan, means)


def mean_of(tracks: Sequence[Track]) -> pd.DataFrame:
    """Return the `mean`, `min` and `max` of the tracks that reach an epoch, by epoch."""
    parts = [pd.Series(track.smoothed, index=track.epochs) for track in tracks]
    table = pd.concat(parts, axis=1).sort_index() if parts else pd.DataFrame(dtype=float)
    return pd.DataFrame({name: getattr(table, name)(axis=1) for name in ("mean", "min", "max")})
