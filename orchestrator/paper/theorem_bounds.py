"""Theorem 4.1 trial by trial (Section 4.3): L, σ², and the bound beside what it bounds.

The paper argues that all of them are smaller for wide and shallow cells. L and σ² are local and
the training is not the theorem's, so a bound compares cells (`orchestrator.paper.theorems`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.panels import grid, make_panels
from orchestrator.paper.theorems import TrialBound, bounds_of
from results_schema.errors import ConfigError

MOST_NAMES = 6
"""Cells whose names fit below a panel that has others beside it."""


class Series(NamedTuple):
    """One number of every trial."""

    name: str
    symbol: str
    colour: str
    value: Callable[[TrialBound], float]


SMOOTHNESS = Series("local L", "circle", style.PALETTE[0], lambda one: one.smoothness)
VARIANCE = Series("σ² of a batch", "circle", style.PALETTE[0], lambda one: one.variance)
BOUND = Series("bound", "triangle-down", style.PALETTE[1], lambda one: one.bound)
MEASURED = Series("measured", "circle", style.PALETTE[0], lambda one: one.measured)

PANELS = {
    "Smoothness L": (SMOOTHNESS,),
    "Variance σ²": (VARIANCE,),
    "Bound, measured": (BOUND, MEASURED),
}


def theorem_bounds_data(
    trials: pd.DataFrame, surfaces: pd.DataFrame, points: pd.DataFrame, metrics: pd.DataFrame
) -> list[TrialBound]:
    """The bound of every ended trial.

    Args:
        trials: As `Results.trials(experiment)` returns them; so the others.
        surfaces: Of the training images, curvature and gradient variance.
        points: Of the surfaces.
        metrics: Of the trials.

    Raises:
        ConfigError: No trial has anything that can be drawn.
    """
    found = bounds_of(trials, surfaces, points, metrics)
    drawn = [one for one in found if any(_shown(s.value(one)) for p in PANELS.values() for s in p)]
    if not drawn:
        raise ConfigError(
            "no trial of theorem_bounds has ended with its curvature or gradient variance measured",
            fix="add landscape: {gradient_variance: {split: train}, curvature: {split: train}}"
            " to the experiment and launch it",
        )
    return drawn


def plot_theorem_bounds(data: Sequence[TrialBound], title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
    """
    names = {one.trial_id: _cell(one, data) for one in data}
    cells = list(dict.fromkeys(names.values()))
    shape = grid(len(PANELS), 1 if len(cells) > MOST_NAMES else 0)
    figure = make_panels(shape, list(PANELS), title, "Theorem 4.1, trial by trial", _note(data))
    for number, series in enumerate(PANELS.values()):
        row, column = shape.place(number)
        for one in series:
            _add(figure, one, data, names, (row, column))
        figure.update_xaxes(
            type="category", categoryorder="array", categoryarray=cells, tickangle=0,
            range=[-0.5, len(cells) - 0.5], row=row, col=column,
        )  # fmt: skip
        figure.update_yaxes(type="log", exponentformat="power", dtick=1, row=row, col=column)
    return figure


def _add(
    figure: go.Figure, series: Series, data: Sequence[TrialBound], names: dict[str, str],
    place: tuple[int, int],
) -> None:  # fmt: skip
    kept = [one for one in data if _shown(series.value(one))]
    figure.add_scatter(
        x=[names[one.trial_id] for one in kept] or [None],
        y=[series.value(one) for one in kept] or [None],
        mode="markers", name=series.name, showlegend=series in (BOUND, MEASURED),
        marker={"symbol": series.symbol, "size": 9, "color": series.colour},
        hovertext=[f"{style.escape(one.variant)}<br>{style.escape(one.trial_id)}" for one in kept],
        hovertemplate=f"%{{hovertext}}<br>{series.name} %{{y:.4g}}<extra></extra>",
        row=place[0], col=place[1],
    )  # fmt: skip


def _cell(one: TrialBound, data: Sequence[TrialBound]) -> str:
    cell = f"C{one.index}" if one.index else one.base
    several = len({other.base for other in data}) > 1
    return style.escape(f"{one.base} {cell}" if several and one.index else cell)


def _shown(value: float) -> bool:
    """Whether a logarithmic axis has room for it."""
    return math.isfinite(value) and value > 0


def _note(data: Sequence[TrialBound]) -> str:
    within = [one.within for one in data if math.isfinite(one.within)]
    asked = sum(share == 1 for share in within)
    return (
        "L and σ²: the largest over measured checkpoints, of training images. Measured: mean of "
        "the squared gradient norm over steps, weighted by their rates. Rates stayed below 1/L as "
        f"the theorem asks: {asked} of {len(data)} trials."
    )
