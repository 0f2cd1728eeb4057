"""The bounds of Section 4.3 against what was computed: one panel to a statement, y = x dashed.

A point above the line violates its statement. Both axes are logarithmic, since the numbers of a
cell's first block and its last lie orders of magnitude apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from orchestrator.figures import style
from orchestrator.figures.panels import Grid, make_panels, square_grid
from results_schema.errors import ConfigError
from workers.theory.checks import Comparison

MOST = 300
"""Points of a series that are drawn; half of them at most violate."""

FEW = 20
"""A series of fewer points has them drawn large."""

VIOLATED = "violated"


class Series(NamedTuple):
    """The drawn cases of one setting; sides above 0 alone, which a logarithm has.

    Attributes:
        setting: The objective, or the problem.
        bound: Right sides.
        measured: Left sides.
        violated: Of each.
    """

    setting: str
    bound: NDArray[np.float64]
    measured: NDArray[np.float64]
    violated: NDArray[np.bool_]


class Panel(NamedTuple):
    """One statement.

    Attributes:
        statement: Its name.
        series: By setting, in order of first appearance.
        cases: How many there are in all.
        violations: How many of them violate it.
    """

    statement: str
    series: tuple[Series, ...]
    cases: int
    violations: int


class Bounds(NamedTuple):
    """Panels in order of first appearance."""

    panels: tuple[Panel, ...]

    @property
    def settings(self) -> list[str]:
        """All of them, in order of first appearance."""
        return list(dict.fromkeys(line.setting for p in self.panels for line in p.series))


def bounds_data(comparisons: Sequence[Comparison]) -> Bounds:
    """The points of each panel, evenly thinned to `MOST` a series.

    Args:
        comparisons: Those of one statement make a panel.

    Raises:
        ConfigError: There is nothing to draw.
    """
    groups: dict[str, list[Comparison]] = {}
    for one in comparisons:
        groups.setdefault(one.statement, []).append(one)
    panels = tuple(
        Panel(
            statement,
            tuple(line for line in map(_thin, parts) if len(line.bound)),
            sum(len(part.measured) for part in parts),
            sum(int(part.violated.sum()) for part in parts),
        )
        for statement, parts in groups.items()
    )
    panels = tuple(panel for panel in panels if panel.series)
    if not panels:
        raise ConfigError(
            "no bound has both its sides above 0", fix="draw more cells, or other trials"
        )
    return Bounds(panels)


def plot_bounds(data: Bounds, title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
    """
    shape = square_grid([panel.statement for panel in data.panels])
    settings = data.settings
    subtitle = "Each point is one case: what was measured against its bound. Above the dashed line "
    figure = make_panels(
        shape,
        [panel.statement for panel in data.panels],
        title,
        subtitle + "the bound is violated.",
        f"At most {MOST} points of each kind are drawn, half of them violations at most. "
        + _counts(data),
        [math.ceil((len(settings) + 1) / 4)],
    )
    for number, panel in enumerate(data.panels):
        _add_panel(figure, panel, settings, shape, number)
    for rank, setting in enumerate(settings):
        _add_key(figure, setting, {"color": _colour(rank), "symbol": "circle", "size": 8})
    if any(panel.violations for panel in data.panels):
        _add_key(figure, VIOLATED, {"color": style.BAD, "symbol": "x", "size": 8})
    return figure


def _thin(part: Comparison) -> Series:
    shown = (part.measured > 0) & (part.bound > 0)
    shown &= np.isfinite(part.measured) & np.isfinite(part.bound)
    bad, good = (np.flatnonzero(shown & wanted) for wanted in (part.violated, ~part.violated))
    bad = _evenly(bad, MOST // 2)
    kept = np.concatenate([_evenly(good, MOST - len(bad)), bad])
    return Series(part.setting, part.bound[kept], part.measured[kept], part.violated[kept])


def _evenly(places: NDArray[np.intp], most: int) -> NDArray[np.intp]:
    if len(places) <= most:
        return places
    return places[np.linspace(0, len(places) - 1, most).astype(int)]


def _add_panel(
    figure: go.Figure, panel: Panel, settings: Sequence[str], shape: Grid, number: int
) -> None:
    row, column = shape.place(number)
    sides = [side for line in panel.series for side in (line.bound, line.measured)]
    low = math.log10(min(float(side.min()) for side in sides)) - 0.3
    high = math.log10(max(float(side.max()) for side in sides)) + 0.3
    figure.add_scatter(
        x=[10**low, 10**high], y=[10**low, 10**high], mode="lines", hoverinfo="skip",
        showlegend=False, line={"color": style.INK, "width": 1, "dash": "dash"},
        row=row, col=column,
    )  # fmt: skip
    few = all(len(line.bound) < FEW for line in panel.series)
    for line in panel.series:
        looks: dict[bool, dict[str, object]] = {
            False: {"size": 8, "opacity": 0.8} if few else {"size": 4, "opacity": 0.35},
            True: {"size": 5, "opacity": 0.6, "symbol": "x"},
        }
        looks[False]["color"] = _colour(settings.index(line.setting))
        looks[True]["color"] = style.BAD
        for violated, marker in looks.items():
            kept = line.violated == violated
            if kept.any():
                figure.add_scatter(
                    x=line.bound[kept], y=line.measured[kept], mode="markers", marker=marker,
                    name=style.escape(line.setting), showlegend=False, row=row, col=column,
                    hovertemplate="bound %{x:.3g}<br>measured %{y:.3g}",
                )  # fmt: skip
    step = max(1, math.ceil((high - low) / 5))
    axis = {
        "type": "log", "range": [low, high], "dtick": step, "exponentformat": "power",
        "tickangle": 0,
    }  # fmt: skip
    lowest = shape.is_lowest(number)
    figure.update_xaxes(**axis, title_text="bound" if lowest else None, row=row, col=column)
    figure.update_yaxes(**axis, title_text="measured" if column == 1 else None, row=row, col=column)


def _counts(data: Bounds) -> str:
    counts = [
        f"({chr(ord('a') + number % 26)}) {panel.violations:,} of {panel.cases:,}"
        for number, panel in enumerate(data.panels)
    ]
    return f"Violated: {'; '.join(counts)}."


def _add_key(figure: go.Figure, name: str, marker: dict[str, object]) -> None:
    figure.add_scatter(
        name=style.escape(name), mode="markers", x=[None], y=[None], marker=marker,
        hoverinfo="skip",
    )  # fmt: skip


def _colour(rank: int) -> str:
    return style.PALETTE[rank % len(style.PALETTE)]
