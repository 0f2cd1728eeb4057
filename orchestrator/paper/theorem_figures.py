"""Figures of the theory (Section 4.3): bounds of its statements, Theorem 4.1, its cells."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.members import name_cell
from orchestrator.figures.panels import Panel, add_key, grid, make_panels, square_grid
from orchestrator.figures.scales import evenly
from orchestrator.figures.topology import Node, Topology, build_topology
from orchestrator.figures.topology_drawing import plot_cells
from orchestrator.output.text import raised
from orchestrator.paper.theorems import TrialBound, trial_bounds
from results_schema.errors import ConfigError
from workers.theory.checks import Comparison

MOST = 300
"""Points of a series that are drawn; half of them at most violate."""

FEW = 20
"""A series of fewer points has them drawn large."""

MOST_NAMES = 6
"""Cells whose names fit below a panel that has others beside it."""

CELLS_NOTE = (
    "x: input. y, ŷ: nodes, each with its matrix W on the edge into it. z: all nodes, concatenated "
    "(grey). f: any objective, of value l. In brackets: width in units of c, and depth in edges."
)


class StatementPanel(NamedTuple):
    """One statement, with the number of its cases and of those that violate it.

    The series are the drawn cases of each setting: those whose sides have a logarithm.
    """

    statement: str
    series: tuple[Comparison, ...]
    cases: int
    violations: int


def bounds_data(comparisons: Sequence[Comparison]) -> list[StatementPanel]:
    """Return the points of each statement, evenly thinned to `MOST` a series.

    Raises:
        ConfigError: There is nothing to draw.
    """
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault(one.statement, []).append(one)
    panels = [
        StatementPanel(
            statement,
            tuple(line for line in map(_thinned, parts) if len(line.bound)),
            sum(len(part.measured) for part in parts),
            sum(int(part.violated.sum()) for part in parts),
        )
        for statement, parts in groups.items()
    ]
    panels = [panel for panel in panels if panel.series]
    if not panels:
        raise ConfigError(
            "no bound has both its sides above 0", fix="draw more cells, or other trials"
        )
    return panels


def _thinned(part: Comparison) -> Comparison:
    shown = (part.measured > 0) & (part.bound > 0)
    shown &= np.isfinite(part.measured) & np.isfinite(part.bound)
    bad, good = (np.flatnonzero(shown & wanted) for wanted in (part.violated, ~part.violated))
    bad = bad[evenly(len(bad), MOST // 2)]
    return part.only(np.concatenate([good[evenly(len(good), MOST - len(bad))], bad]))


def plot_bounds(data: Sequence[StatementPanel], title: str) -> go.Figure:
    """Return the bounds against what was computed: one panel to a statement, y = x dashed.

    A point above the line violates its statement. Both axes are logarithmic, since the numbers of
    a cell's first block and its last are orders of magnitude apart.
    """
    titles = [panel.statement for panel in data]
    settings = list(dict.fromkeys(line.setting for panel in data for line in panel.series))
    subtitle = (
        "Each point is one case: what was measured against its bound. Above the dashed line "
        "the bound is violated."
    )
    counts = "; ".join(
        f"({chr(ord('a') + number % 26)}) {panel.violations:,} of {panel.cases:,}"
        for number, panel in enumerate(data)
    )
    note = (
        f"At most {MOST} points of each kind are drawn, half of them violations at most. "
        f"Violated: {counts}."
    )
    legend_lines = math.ceil((len(settings) + 1) / 4)
    shape = square_grid(titles)
    figure, places = make_panels(shape, titles, title, subtitle, note, [legend_lines])
    for panel, place in zip(data, places, strict=True):
        _add_statement(place, panel, settings)
    for rank, setting in enumerate(settings):
        marker = {"color": style.palette_colour(rank), "symbol": "circle", "size": 8}
        add_key(figure, style.escape(setting), marker)
    if any(panel.violations for panel in data):
        add_key(figure, "violated", {"color": style.BAD, "symbol": "x", "size": 8})
    return figure


def _add_statement(place: Panel, panel: StatementPanel, settings: Sequence[str]) -> None:
    sides = [side for line in panel.series for side in (line.bound, line.measured)]
    low = math.log10(min(float(side.min()) for side in sides)) - 0.3
    high = math.log10(max(float(side.max()) for side in sides)) + 0.3
    place.add_scatter(
        x=[10**low, 10**high], y=[10**low, 10**high], mode="lines", hoverinfo="skip",
        line={"color": style.INK, "width": 1, "dash": "dash"},
    )  # fmt: skip
    few = all(len(line.bound) < FEW for line in panel.series)
    for line in panel.series:
        markers: dict[bool, dict[str, object]] = {
            False: {"size": 8, "opacity": 0.8} if few else {"size": 4, "opacity": 0.35},
            True: {"size": 5, "opacity": 0.6, "symbol": "x", "color": style.BAD},
        }
        markers[False]["color"] = style.palette_colour(settings.index(line.setting))
        for violated, marker in markers.items():
            kept = line.violated == violated
            if kept.any():
                place.add_scatter(
                    x=line.bound[kept], y=line.measured[kept], mode="markers", marker=marker,
                    name=style.escape(line.setting),
                    hovertemplate="bound %{x:.3g}<br>measured %{y:.3g}",
                )  # fmt: skip
    axis = {
        "type": "log", "range": [low, high], "dtick": max(1, math.ceil((high - low) / 5)),
        "exponentformat": "power", "tickangle": 0,
    }  # fmt: skip
    place.set_axes(axis, axis, ("bound", "measured"))


TRIAL_PANELS = {
    "Smoothness L": {"smoothness": ("local L", "circle", 0)},
    "Variance σ²": {"variance": ("σ² of a batch", "circle", 0)},
    "Bound, measured": {
        "bound": ("bound", "triangle-down", 1),
        "measured": ("measured", "circle", 0),
    },
}
"""Name, symbol and colour of each series, by the title of its panel and the field it shows."""


def theorem_bounds_data(
    trials: pd.DataFrame, surfaces: pd.DataFrame, points: pd.DataFrame, metrics: pd.DataFrame
) -> list[TrialBound]:
    """Return the bound of Theorem 4.1 for every ended trial.

    Surfaces are curvatures and gradient variances of the training images.

    Raises:
        ConfigError: No trial has anything that can be drawn.
    """
    found = trial_bounds(trials, surfaces, points, metrics)
    fields = [field for panel in TRIAL_PANELS.values() for field in panel]
    drawn = [one for one in found if any(_has_logarithm(one, field) for field in fields)]
    if not drawn:
        raise ConfigError(
            "no trial of theorem_bounds has ended with its curvature or gradient variance measured",
            fix="add landscape: {gradient_variance: {split: train}, curvature: {split: train}}"
            " to the experiment and launch it",
        )
    return drawn


def plot_theorem_bounds(data: Sequence[TrialBound], title: str) -> go.Figure:
    """Return Theorem 4.1 trial by trial: L, σ², and the bound beside what it bounds.

    The paper argues that all of them are smaller for wide and shallow cells. L and σ² are local
    and the training is not the theorem's, so a bound compares cells
    (`orchestrator.paper.theorems`).
    """
    several = len({one.base for one in data}) > 1
    names = {
        one.trial_id: style.escape(name_cell(one.base, one.index, several_bases=several))
        for one in data
    }
    cells = list(dict.fromkeys(names.values()))
    shape = grid(len(TRIAL_PANELS), 1 if len(cells) > MOST_NAMES else 0)
    within = [one.within for one in data if math.isfinite(one.within)]
    small = sum(share == 1 for share in within)
    note = (
        "L and σ²: the largest over measured checkpoints, of training images. Measured: mean of "
        "the squared gradient norm over steps, weighted by their rates. Rates stayed below 1/L as "
        f"the theorem asks: {small} of {len(data)} trials."
    )
    figure, places = make_panels(
        shape, list(TRIAL_PANELS), title, "Theorem 4.1, trial by trial", note
    )
    category = {
        "type": "category", "categoryorder": "array", "categoryarray": cells, "tickangle": 0,
        "range": [-0.5, len(cells) - 0.5],
    }  # fmt: skip
    power = {"type": "log", "exponentformat": "power", "dtick": 1}
    for panel, place in zip(TRIAL_PANELS.values(), places, strict=True):
        for field, (name, symbol, colour) in panel.items():
            kept = [one for one in data if _has_logarithm(one, field)]
            place.add_scatter(
                x=[names[one.trial_id] for one in kept] or [None],
                y=[getattr(one, field) for one in kept] or [None],
                mode="markers", name=name, showlegend=len(panel) > 1,
                marker={"symbol": symbol, "size": 9, "color": style.PALETTE[colour]},
                hovertext=[
                    f"{style.escape(one.variant)}<br>{style.escape(one.trial_id)}" for one in kept
                ],
                hovertemplate=f"%{{hovertext}}<br>{name} %{{y:.4g}}<extra></extra>",
            )  # fmt: skip
        place.set_axes(category, power, ("", ""))
    return figure


def _has_logarithm(trial: TrialBound, field: str) -> bool:
    value = getattr(trial, field)
    return math.isfinite(value) and value > 0


def theory_cells_data(*, nodes: int = 3) -> list[Topology]:
    """Return the widest and the narrowest cell of the theory (Figure 26, Appendix C).

    All operations are linear. In case I every node has the input x as its source, y⁽ⁱ⁾ = W⁽ⁱ⁾x; in
    case II the node before it, ŷ⁽ⁱ⁾ = W⁽ⁱ⁾ŷ⁽ⁱ⁻¹⁾. Both concatenate all nodes to z; f maps z to l.
    """
    return [
        _linear_cell("Case I, widest", "", [0] * nodes),
        _linear_cell("Case II, narrowest", "\u0302", list(range(nodes))),
    ]


def plot_theory_cells(data: list[Topology], title: str) -> go.Figure:
    """Return both cells drawn side by side."""
    return plot_cells(data, title, labels=True, note=CELLS_NOTE)


def _linear_cell(name: str, hat: str, sources: list[int]) -> Topology:
    """Return a cell of one input, node 0; `sources[i]` is that of node i + 1, outputs have hats."""
    count = len(sources)
    layers = [0]
    for source in sources:
        layers.append(layers[source] + 1)
    layers += [max(layers) + 1, max(layers) + 2]
    z, end = count + 1, count + 2
    ends = [(source, i, f"W⁽{raised(i)}⁾") for i, source in enumerate(sources, start=1)]
    ends += [(i, z, "") for i in range(1, z)]
    ends.append((z, end, f"f{hat}"))
    nodes = [Node("x", "input", 0)]
    nodes += [Node(f"y{hat}⁽{raised(i)}⁾", "node", layers[i]) for i in range(1, z)]
    nodes += [Node(f"z{hat}", "output", layers[z]), Node(f"l{hat}", "output", layers[end])]
    width = float(sources.count(0))
    return build_topology(name, nodes, ends, (width, layers[z], width))
