"""The page's charts: curves of many trials over epochs, and one surface as it fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


def plot_curves(
    curves: dict[str, Curve],
    shown: Sequence[str],
    chosen: Sequence[str],
    column: str,
    label: Callable[[str], str],
    *,
    log: bool = False,
) -> go.Figure:
    """Return the chart of curves: some trials as lines and, where these are not all, quantiles.

    Args:
        curves: Curves by trial.
        shown: The trials of the table, in order; those without a curve are left out.
        chosen: The trials to draw as lines; if there are none, the first `MOST_LINES` shown.
        column: One of `live.COLUMNS`.
        label: Function that returns a trial's name.
        log: Whether the vertical axis is logarithmic.
    """
    drawn, lines = _select(curves, shown, chosen)
    figure = go.Figure()
    if len(drawn) > len(lines):
        _add_quantiles(figure, [curves[trial_id] for trial_id in drawn], column)
    for number, trial_id in enumerate(lines):
        figure.add_scatter(
            **_line(curves[trial_id], column, len(lines)),
            name=style.escape(label(trial_id)), showlegend=len(lines) <= 12,
            line={"width": 1.4, "color": style.PALETTE[number % len(style.PALETTE)]},
            opacity=0.85 if len(lines) <= 12 else 0.55,
            hovertemplate="%{y:.4g} after epoch %{x}",
        )  # fmt: skip
    # While `uirevision` is the same, zoom and hidden lines stay as new epochs come.
    _lay_out(figure, _curves_title(len(lines), len(drawn)), f"{column} {log}", left=64)
    figure.update_layout(legend={"font": {"size": 12}}, hovermode="closest")
    figure.update_xaxes(title_text="Epoch")
    figure.update_yaxes(title_text=COLUMN_TITLES[column], type="log" if log else "linear")
    return figure


def changed_traces(
    curves: dict[str, Curve],
    shown: Sequence[str],
    chosen: Sequence[str],
    column: str,
    changed: set[str],
) -> dict[int, dict[str, Any]]:
    """Return what has changed in a chart of the same trials: new properties by number of the trace.

    `changed` are the trials whose curves have changed; for the others see `plot_curves`.
    """
    drawn, lines = _select(curves, shown, chosen)
    if changed.isdisjoint(drawn):
        return {}
    found: dict[int, dict[str, Any]] = {}
    if len(drawn) > len(lines):
        outlines = _quantile_traces([curves[trial_id] for trial_id in drawn], column)
        found |= {number: {"x": x, "y": y} for number, (x, y) in enumerate(outlines)}
    for number, trial_id in enumerate(lines, start=len(found)):
        if trial_id in changed:
            found[number] = _line(curves[trial_id], column, len(lines))
    return found


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


def _curves_title(lines: int, trials: int) -> str:
    if not trials:
        return "No epoch has ended yet"
    if lines == trials:
        return f"{trials} trial{'s' * (trials != 1)}"
    return f"{lines} of {trials} trials as lines, all as quantiles"


def _select(
    curves: dict[str, Curve], shown: Sequence[str], chosen: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the shown trials that have a curve, and those of them that are lines."""
    drawn = [trial_id for trial_id in shown if trial_id in curves]
    picked = set(chosen)
    return drawn, [t for t in drawn if t in picked][:MOST_LINES] or drawn[:MOST_LINES]


def _line(curve: Curve, column: str, lines: int) -> dict[str, Any]:
    most = max(FEWEST_POINTS, MOST_POINTS // max(1, lines))
    x, y = _thin(curve["epoch"], curve[column], most)
    return {"x": x, "y": y, "mode": "lines" if len(x) > 1 else "markers"}


def _quantile_traces(curves: Sequence[Curve], column: str) -> list[tuple[Numbers, Numbers]]:
    """Return epochs and values of the bands' outlines, then of the median."""
    shares = [side for low, high, _ in _BANDS for side in (low, high)]
    epochs, middle, *sides = quantiles(curves, column, [0.5, *shares])
    around = np.concatenate([epochs, epochs[::-1]])
    pairs = zip(sides[::2], sides[1::2], strict=True)
    bands = [(around, np.concatenate([above, below[::-1]])) for below, above in pairs]
    return [*bands, (epochs, middle)]


def _add_quantiles(figure: go.Figure, curves: Sequence[Curve], column: str) -> None:
    *bands, (epochs, middle) = _quantile_traces(curves, column)
    for (x, y), (low, high, opacity) in zip(bands, _BANDS, strict=True):
        figure.add_scatter(
            x=x, y=y, fill="toself", mode="lines", line={"width": 0}, hoverinfo="skip",
            fillcolor=f"rgba(107, 107, 107, {opacity})", name=f"{100 * low:g} to {100 * high:g} %",
        )  # fmt: skip
    figure.add_scatter(
        x=epochs, y=middle, mode="lines", name="median",
        line={"color": style.INK, "width": 2.2, "dash": "dot"},
        hovertemplate="median %{y:.4g} after epoch %{x}",
    )  # fmt: skip


def _thin(x: Numbers, y: Numbers, most: int) -> tuple[Numbers, Numbers]:
    """Return at most so many points, evenly spaced, with the first and the last."""
    if len(x) <= most:
        return x, y
    kept = np.linspace(0, len(x) - 1, most).astype(int)
    return x[kept], y[kept]
