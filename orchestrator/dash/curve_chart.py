"""Curves of many trials over epochs: some as lines, all of them as quantiles."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from orchestrator.dash.curves import Curve, Numbers
from orchestrator.figures import style

MOST_LINES = 50
MOST_POINTS = 6000
"""Of all lines together; each is thinned evenly, down to `FEWEST_POINTS` of it."""

FEWEST_POINTS = 150

BANDS = ((0.05, 0.95, 0.12), (0.25, 0.75, 0.22))
"""Lower and upper quantile, and opacity."""

WORDS = {
    "test_accuracy": "Test accuracy",
    "test_loss": "Test loss (nat)",
    "train_accuracy": "Training accuracy",
    "train_loss": "Training loss (nat)",
    "rate": "Learning rate",
    "grad_norm": "Gradient norm before clipping",
    "clip_rate": "Share of clipped steps",
}


def plot_curves(
    curves: dict[str, Curve],
    shown: Sequence[str],
    chosen: Sequence[str],
    column: str,
    label: Callable[[str], str],
    *,
    log: bool = False,
) -> go.Figure:
    """The chart.

    Args:
        curves: By trial.
        shown: The trials that count, in order; those without a curve are left out.
        chosen: Those to draw as lines; if there are none, the first `MOST_LINES` shown.
        column: Of `curves.COLUMNS`.
        label: Names a trial.
        log: Whether the vertical axis is logarithmic.
    """
    there, lines = _choose(curves, shown, chosen)
    figure = go.Figure()
    if len(there) > len(lines):
        _add_quantiles(figure, [curves[trial_id] for trial_id in there], column)
    for number, trial_id in enumerate(lines):
        figure.add_scatter(
            **_line(curves[trial_id], column, len(lines)),
            name=style.escape(label(trial_id)), showlegend=len(lines) <= 12,
            line={"width": 1.4, "color": style.PALETTE[number % len(style.PALETTE)]},
            opacity=0.85 if len(lines) <= 12 else 0.55,
            hovertemplate="%{y:.4g} after epoch %{x}",
        )  # fmt: skip
    figure.update_layout(
        template=style.template(),
        # As long as it is the same, zoom and hidden lines stay when new epochs come.
        uirevision=f"{column} {log}",
        height=430,
        margin={"l": 64, "r": 16, "t": 34, "b": 46},
        title={"text": _told(len(lines), len(there)), "font": {"size": 13}, "x": 0.01},
        legend={"font": {"size": 12}},
        hovermode="closest",
    )
    figure.update_xaxes(title_text="Epoch")
    figure.update_yaxes(title_text=WORDS[column], type="log" if log else "linear")
    return figure


def renewed_traces(
    curves: dict[str, Curve],
    shown: Sequence[str],
    chosen: Sequence[str],
    column: str,
    renewed: set[str],
) -> dict[int, dict[str, Any]]:
    """What has changed in a chart of the same trials since some of them have gone on.

    Args:
        curves: As of `plot_curves`.
        shown: Likewise.
        chosen: Likewise.
        column: Likewise.
        renewed: The trials whose curves have changed.

    Returns:
        By number of the trace in the chart, its new properties.
    """
    there, lines = _choose(curves, shown, chosen)
    if renewed.isdisjoint(there):
        return {}
    found: dict[int, dict[str, Any]] = {}
    if len(there) > len(lines):
        shares = _quantile_traces([curves[trial_id] for trial_id in there], column)
        found |= {number: {"x": x, "y": y} for number, (x, y) in enumerate(shares)}
    first = len(found)
    for number, trial_id in enumerate(lines, start=first):
        if trial_id in renewed:
            found[number] = _line(curves[trial_id], column, len(lines))
    return found


def _choose(
    curves: dict[str, Curve], shown: Sequence[str], chosen: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The trials that have a curve, and those of them that are lines."""
    there = [trial_id for trial_id in shown if trial_id in curves]
    picked = set(chosen)
    return there, [t for t in there if t in picked][:MOST_LINES] or there[:MOST_LINES]


def _line(curve: Curve, column: str, lines: int) -> dict[str, Any]:
    most = max(FEWEST_POINTS, MOST_POINTS // max(1, lines))
    x, y = _thin(curve["epoch"], curve[column], most)
    return {"x": x, "y": y, "mode": "lines" if len(x) > 1 else "markers"}


def quantiles(curves: Sequence[Curve], column: str, shares: Sequence[float]) -> tuple[Numbers, ...]:
    """Epochs, and the quantiles of a column over the trials that have reached each.

    Args:
        curves: Of several trials.
        column: Which.
        shares: From 0 to 1.

    Returns:
        Epochs, then one array for each share; epochs that none has a number for are left out.
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
    return epochs, *_sorted_quantiles(values, shares)


def _sorted_quantiles(values: Numbers, shares: Sequence[float]) -> list[Numbers]:
    """Linear ones of each row without its NaNs, as `np.nanquantile`'s, which is slow here."""
    values = np.sort(values, axis=1)  # NaNs last
    last = np.isfinite(values).sum(axis=1) - 1
    rows = np.arange(len(values))
    found = []
    for share in shares:
        place = share * last
        low = np.floor(place).astype(int)
        high = np.minimum(low + 1, last)
        weight = place - low
        found.append(values[rows, low] * (1 - weight) + values[rows, high] * weight)
    return found


def _quantile_traces(curves: Sequence[Curve], column: str) -> list[tuple[Numbers, Numbers]]:
    """Epochs and values of the bands' outlines, then of the median."""
    shares = [side for low, high, _ in BANDS for side in (low, high)]
    epochs, middle, *sides = quantiles(curves, column, [0.5, *shares])
    around = np.concatenate([epochs, epochs[::-1]])
    pairs = zip(sides[::2], sides[1::2], strict=True)
    bands = [(around, np.concatenate([above, below[::-1]])) for below, above in pairs]
    return [*bands, (epochs, middle)]


def _add_quantiles(figure: go.Figure, curves: Sequence[Curve], column: str) -> None:
    *bands, (epochs, middle) = _quantile_traces(curves, column)
    for (x, y), (low, high, opacity) in zip(bands, BANDS, strict=True):
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
    """At most so many points, evenly, the first and the last among them."""
    if len(x) <= most:
        return x, y
    kept = np.linspace(0, len(x) - 1, most).astype(int)
    return x[kept], y[kept]


def _told(lines: int, trials: int) -> str:
    if not trials:
        return "No epoch has ended yet"
    if lines == trials:
        return f"{trials} trial{'s' * (trials != 1)}"
    return f"{lines} of {trials} trials as lines, all as quantiles"
