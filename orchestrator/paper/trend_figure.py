"""An outcome over a property of cells: a dot for each, with the trend within bases."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from scipy import stats

from orchestrator.config.registry import PROPERTIES
from orchestrator.figures import style
from orchestrator.figures.evidence import AS_ZERO, LEFT_OUT, counted_accuracies, diverged_note
from orchestrator.figures.members import (
    name_datasets,
    name_value,
    require,
    require_held_out,
)
from orchestrator.figures.panels import add_key, grid, make_panels
from orchestrator.figures.scales import focus_range
from orchestrator.paper.statistics.association import trend
from orchestrator.paper.statistics.laws import ALPHA, NOTHING, Outcome
from results_schema.errors import ConfigError

LOGARITHMIC = 10
"""An axis of values is logarithmic from this ratio of the largest to the least on."""
MOST_MARKS = 9
"""Up to so many values of an axis, each has its tick."""

_CELL = ["base", "variant", "index"]
_PANEL = ["named_dataset", "dataset", "learning_rate"]


class TrendPanel(NamedTuple):
    """The cells on one dataset at one learning rate.

    Attributes:
        title: Dataset and learning rate.
        cells: A row a cell: base, variant, index, x, y, diverged (how many of its trials did), and
            group, by which it is coloured.
        found: Spearman's correlation within bases, without the bases themselves; nothing where a
            cell has several rows, as axes vary.
    """

    title: str
    cells: pd.DataFrame
    found: Outcome


class Trends(NamedTuple):
    """What the figure shows.

    Attributes:
        panels: By dataset and learning rate.
        x: Column along the horizontal axis.
        y: Column along the vertical axis; accuracies in percent.
        note: How many trials diverged, and how they count.
        tested: Whether a cell is one row, so that the trend over cells is tested.
    """

    panels: list[TrendPanel]
    x: str
    y: str
    note: str
    tested: bool


def trend_data(
    trials: pd.DataFrame, x: str = "width", y: str = "test_accuracy", colour: str | None = None
) -> Trends:
    """Return the cells of an experiment, seeds averaged.

    Args:
        trials: Those of `Results.trials(experiment)`.
        x: Property of a cell, or an axis: a numeric column.
        y: Outcome: a numeric column. In accuracies a diverged trial counts as 0, else it is left
            out.
        colour: Axis whose values have colours; by default bases have.

    Raises:
        ConfigError: A column is absent, or no trial has ended.
    """
    require("trend", "trials", trials, (), [*_CELL, *_PANEL, "status", x, y])
    ended: Any = trials[trials["status"].isin(["done", "diverged"])]
    if ended.empty:
        raise ConfigError("trend has no trial that ended", fix="launch the experiment first")
    require_held_out("trend", ended, [y])
    accuracy, lost = y.endswith("accuracy"), ended["status"] == "diverged"
    values = 100 * counted_accuracies(ended, y) if accuracy else ended[y].mask(lost)
    rows = ended.assign(y=values, x=ended[x].astype(float), lost=lost, group=ended["base"])
    if colour:
        rows["group"] = [name_value(colour, value) for value in ended[colour]]
    alone = colour is None and x in PROPERTIES
    panels = []
    for key, part in rows.groupby(_PANEL, sort=False):
        named, dataset, rate = key
        cells: Any = part.groupby([*_CELL, "group", "x"], sort=False).agg(
            y=("y", "mean"), diverged=("lost", "sum")
        )
        cells = cells.reset_index().dropna(subset="y")
        variants = cells[cells["index"] > 0]
        found = trend(variants["x"], variants["y"], variants["base"]) if alone else NOTHING
        title = f"{name_datasets([(named, dataset)], axes=True)}, learning rate {rate:g}"
        panels.append(TrendPanel(title, cells, found))
    note = diverged_note(int(lost.sum()), len(ended), AS_ZERO if accuracy else LEFT_OUT)
    return Trends(panels, x, y, note, alone)


def plot_trend(data: Trends, title: str) -> go.Figure:
    """Return the figure: dots by base, and the least-squares line within bases with its band."""
    labels = [panel.title for panel in data.panels]
    tested = (
        "ρ: Spearman's correlation within bases, the bases (diamonds) left out, with its 95 % "
        "interval. The line is of least squares within bases, the band its 95 % interval, both "
        "without cells of which a trial diverged (crosses). "
    )
    note = tested * data.tested + data.note
    figure, places = make_panels(grid(len(labels), titles=labels), labels, title, "", note)
    groups = list(dict.fromkeys(one for panel in data.panels for one in panel.cells["group"]))
    for panel, place in zip(data.panels, places, strict=True):
        if data.tested:
            _add_line(panel, place)
        sound = list(panel.cells["y"][panel.cells["diverged"] == 0])
        spread = float(np.ptp(sound)) if sound else 0.0
        low, high = focus_range(sound, least=spread / 50 or 1.0)
        for rank, group in enumerate(groups):
            cells = panel.cells[panel.cells["group"] == group]
            both = zip(cells["base"], cells["variant"], strict=True)
            named = [style.escape_template(f"{base}, {name}") for base, name in both]
            place.add_scatter(
                mode="markers",
                x=cells["x"],
                y=cells["y"].clip(low, high),
                marker={
                    "color": style.palette_colour(rank),
                    "size": [10 if index == 0 else 7 for index in cells["index"]],
                    "symbol": [
                        "x" if lost else "circle" if index else "diamond"
                        for lost, index in zip(cells["diverged"], cells["index"], strict=True)
                    ],
                    "opacity": 0.8,
                },
                text=[f"{name}<br>{y:.4g}" for name, y in zip(named, cells["y"], strict=True)],
                hovertemplate="%{text}<extra></extra>",
            )
        if effect := _effect(panel.found):
            corner = {name: f"{axis} domain" for name, axis in place.axes.items()}
            place.add_text(effect, x=0.02, y=0.98, xanchor="left", yanchor="top", **corner)
        values: Any = panel.cells["x"]
        marks = _axis_marks(values) if data.x not in PROPERTIES else {}
        names = (_name(data.x), _name(data.y) + ", %" * data.y.endswith("accuracy"))
        place.set_axes(marks, {"range": [low, high]}, names)
    for rank, group in enumerate(groups):
        add_key(figure, style.escape(group), {"color": style.palette_colour(rank), "size": 8})
    return figure


def _axis_marks(values: pd.Series) -> dict[str, Any]:
    """Return ticks at the values of an axis, and its type."""
    distinct = sorted(set(values))
    marks: dict[str, Any] = {}
    if distinct and 0 < distinct[0] * LOGARITHMIC <= distinct[-1]:
        marks["type"] = "log"
    if len(distinct) <= MOST_MARKS:
        marks |= {"tickvals": distinct, "ticktext": [f"{value:g}" for value in distinct]}
    return marks


def _effect(found: Outcome) -> str:
    if math.isnan(found.low):
        return ""
    return f"ρ = {found.value:.2f} [{found.low:.2f}, {found.high:.2f}]".replace("-", "−")


def _name(column: str) -> str:
    return column.replace("_", " ")


def _add_line(panel: TrendPanel, place: Any) -> None:
    """Draw the pooled slope within bases through the mean of all variants, with Student's band."""
    cells: Any = panel.cells[(panel.cells["index"] > 0) & (panel.cells["diverged"] == 0)]
    x, y = (cells[name] - cells.groupby("base")[name].transform("mean") for name in ("x", "y"))
    free, square = len(cells) - cells["base"].nunique() - 1, float((x**2).sum())
    if free < 1 or square < 1e-12:
        return
    slope = float((x * y).sum()) / square
    error = math.sqrt(float(((y - slope * x) ** 2).sum()) / free)
    along = np.linspace(cells["x"].min(), cells["x"].max(), 30)
    off = along - cells["x"].mean()
    middle = cells["y"].mean() + slope * off
    reach = stats.t.isf(ALPHA / 2, free) * error * np.sqrt(1 / len(cells) + off**2 / square)
    grey = {"color": style.GREY, "width": 1.5}
    place.add_scatter(
        mode="lines", x=[*along, *along[::-1]], y=[*(middle + reach), *(middle - reach)[::-1]],
        fill="toself", fillcolor="rgba(107, 107, 107, 0.15)", line={"width": 0}, hoverinfo="skip",
    )  # fmt: skip
    place.add_scatter(mode="lines", x=along, y=middle, line=grey, hoverinfo="skip")
