"""The page's charts: curves of many trials over epochs, and one surface as it fills."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from orchestrator.dash.live import Curve, Numbers
from orchestrator.figures import style
from results_schema import layout, tables
from results_schema.errors import MissingKey
from results_schema.store import Store

MOST_LINES = 50
MOST_POINTS = 6000
"""Most points of all lines together; each line keeps at least `FEWEST_POINTS`."""
FEWEST_POINTS = 150
COLUMN_TITLES = {
    "test_accuracy": "Test accuracy",
    "test_loss": "Test loss (nat)",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss (nat)",
    "rate": "Learning rate",
    "grad_norm": "Gradient norm before clipping",
    "clip_rate": "Share of clipped steps",
}
_BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.22))
"""Lower and upper quantile, and opacity."""


def plot_curves(traces: Sequence[dict[str, Any]], column: str, *, log: bool = False) -> go.Figure:
    """Return the chart of curves.

    Args:
        traces: What `curve_traces` returns.
        column: The one of `live.COLUMNS`, or the metric, that they show.
        log: Whether the vertical axis is logarithmic.
    """
    figure = go.Figure(list(traces))
    lines = sum("trial" in trace["meta"] for trace in traces)
    title = "No epoch has ended yet"
    if len(traces) > lines:
        title = f"{lines} of {traces[0]['meta']['trials']} trials as lines, all as quantiles"
    elif lines:
        title = f"{lines} trial{'s' * (lines != 1)}"
    # While `uirevision` is the same, zoom and hidden lines stay as new epochs come.
    _lay_out(figure, title, f"{column} {log}", left=64)
    figure.update_layout(legend={"font": {"size": 12}}, hovermode="closest")
    figure.update_xaxes(title_text="Epoch")
    figure.update_yaxes(
        title_text=COLUMN_TITLES.get(column, column), type="log" if log else "linear"
    )
    return figure


def curve_traces(
    curves: Mapping[str, Curve],
    shown: Sequence[str],
    chosen: Sequence[str],
    column: str,
    label: Callable[[str], str],
) -> list[dict[str, Any]]:
    """Return some trials as lines and, where these are not all, quantiles before them.

    The `meta` of a line has its `trial`, that of quantiles the number of their `trials`.

    Args:
        curves: Curves by trial.
        shown: The trials of the table, in order; those without a curve are left out.
        chosen: The trials to draw as lines; if there are none, the first `MOST_LINES` shown.
        column: One of `live.COLUMNS`, or a program's metric.
        label: Function that returns a trial's name.
    """
    drawn = [trial_id for trial_id in shown if column in curves.get(trial_id, ())]
    picked = set(chosen)
    lines = [t for t in drawn if t in picked][:MOST_LINES] or drawn[:MOST_LINES]
    traces = []
    if len(drawn) > len(lines):
        traces = _quantile_traces([curves[trial_id] for trial_id in drawn], column)
    most = max(FEWEST_POINTS, MOST_POINTS // max(1, len(lines)))
    for number, trial_id in enumerate(lines):
        x, y = _thin(curves[trial_id]["epoch"], curves[trial_id][column], most)
        traces.append({
            "meta": {"trial": trial_id}, "x": x, "y": y,
            "mode": "lines" if len(x) > 1 else "markers",
            "name": style.escape(label(trial_id)), "showlegend": len(lines) <= 12,
            "line": {"width": 1.4, "color": style.palette_colour(number)},
            "opacity": 0.85 if len(lines) <= 12 else 0.55,
            "hovertemplate": "%{y:.4g} after epoch %{x}",
        })  # fmt: skip
    return traces


def quantiles(curves: Sequence[Curve], column: str, shares: Sequence[float]) -> tuple[Numbers, ...]:
    """Return epochs, then a column's quantile over the trials at each epoch for each share.

    Shares are from 0 to 1; epochs for which no trial has a number are left out.
    """
    last = max((int(c["epoch"][-1]) for c in curves if len(c["epoch"])), default=0)
    values = np.full((len(curves), last), np.nan)
    for row, curve in zip(values, curves, strict=True):
        finite = np.where(np.isfinite(curve[column]), curve[column], np.nan)
        row[curve["epoch"].astype(int) - 1] = finite
    epochs = np.arange(1.0, last + 1)
    known = np.isfinite(values).any(axis=0)
    epochs, values = _thin(epochs[known], values[:, known].T, 2 * FEWEST_POINTS)
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


def _thin(x: Numbers, y: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """Return at most so many points, evenly spaced, with the first and the last."""
    if len(x) <= most:
        return x, y
    kept = np.linspace(0, len(x) - 1, most).astype(int)
    return x[kept], y[kept]
