"""The page's charts: curves of many trials, outcomes over axes, one surface as it fills."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import plotly.graph_objects as go

from orchestrator.dash.live import COLUMNS, NAMES, Curve, Numbers, Row
from orchestrator.figures import style
from orchestrator.figures.members import differing, name_cell
from orchestrator.figures.scales import evenly
from orchestrator.output.text import NO_NUMBER, value_text
from results_schema import layout, tables
from results_schema.errors import MissingKey
from results_schema.store import Store

MOST_LINES = 50
MOST_POINTS = 6000
"""Most points of all lines together; each line keeps at least `FEWEST_POINTS`."""
FEWEST_POINTS = 150
FEW_EPOCHS = 8
"""Up to so many, each has a tick; beyond, plotly's own ticks are whole numbers."""
MOST_COLOURS = 12
"""Different values of an axis up to which each has a colour and a key of its own."""
DASHES = ("solid", "dash", "dot", "dashdot")
"""Lines that share a colour differ in these."""
OUTCOMES = ("test_accuracy", "best_test_accuracy", "test_loss", "val_accuracy", "val_loss",
            "train_loss", "epoch")  # fmt: skip
"""Columns of a cell's row that training decides."""
_BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.22))
"""Lower and upper quantile, and opacity."""


def plot_curves(
    traces: Sequence[dict[str, Any]], column: str, *, log: bool = False, last: int = 0
) -> go.Figure:
    """Return the chart of curves.

    Args:
        traces: What `curve_traces` returns.
        column: The one of `live.COLUMNS`, or the metric, that they show.
        log: Whether the vertical axis is logarithmic.
        last: Last epoch of any curve.
    """
    figure = go.Figure(list(traces))
    lines = sum("names" in trace["meta"] for trace in traces)
    title = "No epoch has ended yet"
    if traces and traces[0]["meta"].get("trials"):
        title = f"{lines} of {traces[0]['meta']['trials']} trials as lines, all as quantiles"
    elif lines:
        title = f"{lines} {traces[-1]['meta']['names']}{'s' * (lines != 1)}"
    # While `uirevision` is the same, zoom and hidden lines stay as new epochs come.
    _lay_out(figure, title, f"{column} {log}", left=64)
    figure.update_layout(legend={"font": {"size": 11}}, hovermode="closest")
    figure.update_xaxes(title_text="Epoch", dtick=1 if last <= FEW_EPOCHS else None)
    name = COLUMNS.get(column, column)
    figure.update_yaxes(title_text=name, type="log" if log else "linear")
    return figure


def curve_traces(
    curves: Mapping[str, Curve],
    rows: Sequence[Row],
    chosen: Sequence[str],
    column: str,
    *,
    mean: bool = False,
) -> list[dict[str, Any]]:
    """Return some trials as lines and, where these are not all, quantiles before them.

    The `meta` of a line has what it `names` and, of a single trial, its `trial`; that of quantiles
    has the number of their `trials`.

    Args:
        curves: Curves by trial.
        rows: Rows of the trials of the table, in order; those without a curve are left out.
        chosen: The trials to draw as lines; if there are none, the first `MOST_LINES` shown.
        column: One of `live.COLUMNS`, or a program's metric.
        mean: Whether trials that differ in their seed alone are drawn as their mean, with a band of
            one standard deviation to either side.
    """
    drawn = [row for row in rows if column in curves.get(row["trial_id"], ())]
    picked = [row for row in drawn if row["trial_id"] in set(chosen)] or drawn
    alike: dict[Any, list[Row]] = {}
    for row in picked:
        key = [(k, row[k]) for k in axes_of(row) if k != "seed"] if mean else row["trial_id"]
        alike.setdefault(str(key), []).append(row)
    groups = list(alike.values())[:MOST_LINES]
    traces: list[dict[str, Any]] = []
    if len(drawn) > sum(map(len, groups)):
        traces = _quantile_traces([curves[row["trial_id"]] for row in drawn], column)
    most = max(FEWEST_POINTS, MOST_POINTS // max(1, len(groups)))
    names = short_names([group[0] for group in groups], seeds=not mean)
    for number, (group, name) in enumerate(zip(groups, names, strict=True)):
        some = [curves[row["trial_id"]] for row in group]
        colour, text = style.palette_colour(number), style.escape(label(group[0]))
        dash = DASHES[number // len(style.PALETTE) % len(DASHES)]
        meta: dict[str, Any] = {"names": "mean" if mean else "trial"}
        if mean:
            epochs, values = _by_epoch(some, column)
            y, deviation = _mean_and_deviation(values)
            traces += _deviation_trace(epochs, y, deviation, colour)
            name, text = f"{name} ({len(some)})", f"mean of {len(some)} seeds of {text}"
        else:
            epochs, y = some[0]["epoch"], some[0][column]
            meta["trial"] = group[0]["trial_id"]
        kept = evenly(len(epochs), most)
        x, y = epochs[kept], y[kept]
        traces.append({
            "meta": meta, "x": x, "y": y, "mode": "lines" if len(x) > 1 else "markers",
            "name": style.escape(style.shorten(name, 24)), "showlegend": True,
            "line": {"width": 1.4, "color": colour, "dash": dash},
            "opacity": 0.85 if len(groups) <= 12 else 0.6,
            "hovertemplate": f"{text}<br>%{{y:.4g}} after epoch %{{x}}<extra></extra>",
        })  # fmt: skip
    return traces


def axes_of(row: Row) -> list[str]:
    """Return the columns of a row that name a trial: between its state and its outcomes.

    A program's trial has no cell: of `NAMES` it has its base, the program, and its seed alone.
    """
    names = list(row)
    absent = {"trial_id", "state"}
    if row.get("width") is None:
        absent |= {*NAMES} - {"base", "seed"}
    return [name for name in names[: names.index("epoch")] if name not in absent]


def label(row: Row) -> str:
    """Return the full name of a trial: cell, dataset, rate, further axes and seed."""
    axes = axes_of(row)
    if not axes:
        return row["trial_id"]
    varied = "variant" in axes and row["index"]
    cell = f"{row['base']} {row['variant']}" if varied else row["base"]
    return ", ".join([cell, *(_describe(row, name) for name in _order(axes))])


def short_names(rows: Sequence[Row], *, seeds: bool = True) -> list[str]:
    """Return for each trial what distinguishes it from the others; its label if nothing does."""
    several = len({row.get("base") for row in rows}) > 1

    def cell(row: Row) -> str:
        if row.get("base") is None:
            return row["trial_id"]
        index = row["index"] if "index" in axes_of(row) else 0
        return name_cell(row["base"], index, several_bases=several)

    names = _order(dict.fromkeys(name for row in rows for name in axes_of(row)))
    others = [partial(_describe, name=name) for name in names if name != "seed" or seeds]
    found = differing(rows, cell, *others)
    return [", ".join(texts) or label(row) for texts, row in zip(found, rows, strict=True)]


def _order(names: Collection[str]) -> list[str]:
    """Return the axes that a trial's name has beside its cell."""
    further = [name for name in names if name not in NAMES]
    return [name for name in ("dataset", "learning_rate", *further, "seed") if name in names]


def _describe(row: Row, name: str) -> str:
    if name not in row:
        return ""
    # Without a value, the trial's experiment does not have this axis.
    alone = name in ("dataset", "learning_rate") and row[name] is not None
    return f"{'' if alone else name.replace('_', ' ') + ' '}{_value_text(row[name])}"


def plot_outcomes(
    rows: Sequence[Row], x: str, y: str, colour: str, *, parallel: bool = False
) -> go.Figure:
    """Return an outcome of trials over an axis as dots, or all axes as parallel coordinates.

    Args:
        rows: Rows of trials; those without the outcome are left out.
        x: Column along the horizontal axis of dots.
        y: The outcome, one of `OUTCOMES` or a program's metric.
        colour: Column that colours the dots; parallel lines have the colour of the outcome.
        parallel: Whether to draw parallel coordinates, of the axes in which the trials differ.
    """
    shown = [row for row in rows if row.get(y) is not None]
    title = f"{len(shown)} trial{'s' * (len(shown) != 1)} with {y.replace('_', ' ')}"
    figure = go.Figure()
    if parallel:
        names = dict.fromkeys(name for row in shown for name in axes_of(row))
        varied = [name for name in names if len({str(row.get(name)) for row in shown}) > 1]
        values = [row[y] for row in shown]
        dimensions = [_dimension(name, [row.get(name) for row in shown]) for name in varied]
        figure.add_parcoords(
            dimensions=[*dimensions, {"label": y, "values": values}],
            line={"color": values, "colorscale": "Viridis", "showscale": False},
            labelangle=-20, labelside="bottom", rangefont={"color": "rgba(0, 0, 0, 0)"},
        )  # fmt: skip
        _lay_out(figure, title, f"parallel {y}", left=64)
        return figure.update_layout(margin={"l": 60, "r": 40, "t": 50, "b": 70})
    groups: dict[str, list[Row]] = {}
    for row in shown:
        groups.setdefault(_value_text(row.get(colour)), []).append(row)
    numbers = [row.get(colour) for row in shown]
    graded = len(groups) > MOST_COLOURS and all(isinstance(one, int | float) for one in numbers)
    if graded or len(groups) > MOST_COLOURS:
        groups = {"": shown}
    for number, (name, some) in enumerate(groups.items()):
        marker: dict[str, Any] = {"size": 8, "opacity": 0.8, "color": style.palette_colour(number)}
        if graded:
            scale = {"title": {"text": colour}, "thickness": 12}
            marker |= {"color": numbers, "colorscale": "Viridis", "colorbar": scale}
        elif number >= len(style.PALETTE):
            marker["symbol"] = "diamond"
        figure.add_scatter(
            x=[row.get(x) for row in some], y=[row[y] for row in some], mode="markers",
            marker=marker, name=style.escape(style.shorten(name, 24)),
            showlegend=len(groups) > 1,
            hovertext=[style.escape(label(row)) for row in some],
            hovertemplate="%{hovertext}<br>%{x}: %{y:.4g}<extra></extra>",
        )  # fmt: skip
    _lay_out(figure, title, f"{x} {y} {colour}", left=64)
    known: Any = {row.get(x) for row in shown} - {None}
    whole = bool(known) and all(isinstance(one, int) for one in known)
    few = whole and max(known) - min(known) <= 20
    numeric = bool(known) and all(isinstance(one, int | float) for one in known)
    wide = numeric and min(known) > 0 and max(known) >= 30 * min(known)
    legend = {"font": {"size": 11}, "title": {"text": colour.replace("_", " ")}}
    figure.update_layout(legend=legend, hovermode="closest")
    figure.update_xaxes(title_text=x.replace("_", " "), dtick=1 if few else None)
    figure.update_xaxes(type="log" if wide and not few else "linear" if numeric else "category")
    return figure.update_yaxes(title_text=y.replace("_", " "))


def _dimension(name: str, values: Sequence[Any]) -> dict[str, Any]:
    """Return one of several parallel axes; what is no number has its place in the alphabet."""
    if all(isinstance(value, int | float) for value in values):
        different = sorted(set(values))
        few = {"tickvals": different, "ticktext": [f"{value:g}" for value in different]}
        return {"label": name, "values": values, **(few if len(different) <= MOST_COLOURS else {})}
    texts = sorted({_value_text(value) for value in values})
    places = [texts.index(_value_text(value)) for value in values]
    shown = [style.escape(style.shorten(text, 18)) for text in texts]
    return {"label": name, "values": places, "tickvals": [*range(len(texts))], "ticktext": shown}


def _value_text(value: Any) -> str:
    return NO_NUMBER if value is None else value_text(value)


def quantiles(curves: Sequence[Curve], column: str, shares: Sequence[float]) -> tuple[Numbers, ...]:
    """Return epochs, then a column's quantile over the trials at each epoch for each share.

    Shares are from 0 to 1; epochs for which no trial has a number are left out.
    """
    epochs, table = _by_epoch(curves, column)
    kept = evenly(len(epochs), 2 * FEWEST_POINTS)
    epochs, values = epochs[kept], table.T[kept]
    if not len(epochs):
        return epochs, *(np.empty(0) for _ in shares)
    # By sorting, as np.nanquantile takes seconds for thousands of trials.
    values = np.sort(values, axis=1)  # NaNs last
    last_known = np.isfinite(values).sum(axis=1) - 1
    rows = np.arange(len(values))
    found = []
    for share in shares:
        place = share * last_known
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, last_known)
        weight = place - low
        found.append(values[rows, low] * (1 - weight) + values[rows, high] * weight)
    return epochs, *found


def _by_epoch(curves: Sequence[Curve], column: str) -> tuple[Numbers, Numbers]:
    """Return the epochs with a finite number, and the numbers [curves, epochs], else NaN."""
    last = max((int(c["epoch"][-1]) for c in curves if len(c["epoch"])), default=0)
    values = np.full((len(curves), last), np.nan)
    for row, curve in zip(values, curves, strict=True):
        finite = np.where(np.isfinite(curve[column]), curve[column], np.nan)
        row[curve["epoch"].astype(int) - 1] = finite
    known = np.isfinite(values).any(axis=0)
    return np.arange(1.0, last + 1)[known], values[:, known]


def _mean_and_deviation(values: Numbers) -> tuple[Numbers, Numbers]:
    """Return mean and sample deviation of each column, without NaN; the deviation of one is 0."""
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / count
    squares = np.nansum((values - mean) ** 2, axis=0)
    return mean, np.sqrt(squares / np.maximum(count - 1, 1))


def _deviation_trace(
    epochs: Numbers, mean: Numbers, deviation: Numbers, colour: str
) -> list[dict[str, Any]]:
    """Return a band of one deviation to either side; none where seeds do not differ."""
    if not deviation.any():
        return []
    sides = np.concatenate([mean + deviation, (mean - deviation)[::-1]])
    return [{
        "x": np.concatenate([epochs, epochs[::-1]]), "y": sides, "fill": "toself", "mode": "lines",
        "line": {"width": 0}, "fillcolor": colour, "opacity": 0.18, "hoverinfo": "skip",
        "showlegend": False, "meta": {},
    }]  # fmt: skip


def surface_ids(store: Store) -> list[str]:
    """Return the surfaces of which there are points on a grid, by trial."""
    names = layout.names([k for k in store.list(layout.POINTS) if k.endswith(".parquet")])
    return sorted(name for name in names if "-curvature-" not in name)


def surface_fingerprint(store: Store, surface_id: str | None) -> str:
    """Return a value that changes with the table of a surface's points; empty without a table."""
    stat = store.stat(layout.points(surface_id)) if surface_id else None
    return stat.version if stat else ""


def plot_surface(store: Store, surface_id: str | None) -> go.Figure:
    """Return the heat map of log₁₀ of a contour's loss, or of a gradient variance's √variance.

    Without a surface, return an empty chart.

    Raises:
        CorruptData: The file of its points is damaged.
    """
    figure = go.Figure()
    title = "No surface has a point yet"
    if surface_id is not None and surface_id in surface_ids(store):
        key = layout.points(surface_id)
        try:
            points = tables.from_parquet(store.get(key), tables.POINTS, key)
        except MissingKey:
            points = tables.POINTS.empty_table()
        title = f"{len(points)} point{'s' * (len(points) != 1)}"
        variance = "-gradient_variance-" in surface_id
        name = "√variance" if variance else "loss"
        values = np.asarray(points["variance" if variance else "loss"].to_numpy(), float)
        values = np.sqrt(values) if variance else values
        alphas, rows = np.unique(points["alpha"].to_numpy(), return_inverse=True)
        betas, columns = np.unique(points["beta"].to_numpy(), return_inverse=True)
        grid = np.full((len(betas), len(alphas)), np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.log10(values)
        grid[columns, rows] = np.where(np.isfinite(logs), logs, np.nan)
        figure.add_heatmap(
            x=alphas, y=betas, z=grid, colorscale="Viridis",
            colorbar={"title": {"text": f"log₁₀ {name}"}, "thickness": 14},
            hovertemplate="α %{x:.3g}, β %{y:.3g}: 10^%{z:.3g}<extra></extra>",
        )  # fmt: skip
    _lay_out(figure, title, surface_id, left=56)
    figure.update_xaxes(title_text="α", constrain="domain")
    figure.update_yaxes(title_text="β", scaleanchor="x", constrain="domain")
    if not figure.data:
        figure.update_xaxes(visible=False).update_yaxes(visible=False)
    return figure


def _lay_out(figure: go.Figure, title: str, revision: str | None, *, left: int) -> None:
    figure.update_layout(
        template=style.template(),
        uirevision=revision,
        height=430,
        margin={"l": left, "r": 16, "t": 34, "b": 46},
        title={"text": title, "font": {"size": 13}, "x": 0.01},
    )


def _quantile_traces(curves: Sequence[Curve], column: str) -> list[dict[str, Any]]:
    """Return the bands around the median, then the median."""
    shares = [side for low, high, _ in _BANDS for side in (low, high)]
    epochs, middle, *sides = quantiles(curves, column, [0.5, *shares])
    around = np.concatenate([epochs, epochs[::-1]])
    meta = {"trials": len(curves)}
    traces = [
        {
            "x": around, "y": np.concatenate([above, below[::-1]]), "fill": "toself",
            "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "meta": meta,
            "fillcolor": f"rgba(107, 107, 107, {opacity})",
            "name": f"{100 * low:g} to {100 * high:g} %",
        }
        for below, above, (low, high, opacity) in zip(sides[::2], sides[1::2], _BANDS, strict=True)
    ]  # fmt: skip
    median = {
        "x": epochs, "y": middle, "mode": "lines", "name": "median", "meta": meta,
        "line": {"color": style.INK, "width": 2.2, "dash": "dot"},
        "hovertemplate": "median %{y:.4g} after epoch %{x}",
    }  # fmt: skip
    return [*traces, median]
