"""What is drawn of each curve: raw and smoothed lines, bands over seeds, ends and their names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import plotly.graph_objects as go

from orchestrator.figures import convergence_words, style
from orchestrator.figures.convergence_curves import Curve, Panel
from orchestrator.figures.convergence_looks import Look
from orchestrator.figures.panels import axes_of
from orchestrator.figures.scales import choose_end_labels, spread_end_labels
from orchestrator.figures.tracks import Track

MOST_POINTS = 400
"""Of a smoothed curve; a longer one is drawn at evenly chosen epochs."""

FEW_EPOCHS = 12
"""Up to so many each epoch is marked, so that one alone can be seen."""

Place = tuple[int, int]
"""Row and column of a panel, counted from 1."""


class Frame(NamedTuple):
    """What a panel shows: epochs 0 to `last` and room for names, `low` to `high`; its pixels."""

    last: int
    low: float
    high: float
    width: float
    height: float
    room: float

    @property
    def right(self) -> float:
        """The right end of the x axis, in epochs."""
        return self.last * self.width / (self.width - self.room)

    def pixels(self, y: float) -> float:
        """Height of a value above the x axis; values beyond the range lie on its ends."""
        inside = min(max(y, self.low), self.high)
        return (inside - self.low) / (self.high - self.low) * self.height

    def at(self, pixels: float) -> float:
        """The value at a height; the inverse of `pixels`."""
        return self.low + pixels / self.height * (self.high - self.low)


def add_curve(
    figure: go.Figure, panel: Panel, curve: Curve, look: Look, place: Place, *, raw: bool
) -> None:
    """The lines of one cell: of its one trial, or the mean and the band of several."""
    kept = [track for track in curve.tracks if track.status != "diverged" and len(track.epochs)]
    lost = [track for track in curve.tracks if track.status == "diverged" and len(track.epochs)]
    if len(kept) > 1:
        _add_band(figure, curve, look, place)
        mean, ids = curve.mean, [track.trial_id for track in kept]
        text = f"mean of {len(kept)} seeds, {convergence_words.value(panel.quantity)}"
        template = convergence_words.hover(panel, curve, ids, text)
        _add_line(figure, mean.epochs, mean.mean, look, template, place)
    for track in kept[:1] if len(kept) == 1 else []:
        _add_track(figure, panel, curve, track, look, place, raw=raw)
    for track in lost:
        _add_track(figure, panel, curve, track, look._replace(width=1.2), place, raw=raw)


def add_ends(
    figure: go.Figure, panel: Panel, looks: Sequence[Look], frame: Frame, place: Place
) -> list[dict[str, Any]]:
    """A line from each curve's end to its name, and a cross where a trial diverged.

    Returns:
        The names, as annotations that are still to be added.
    """
    found: list[tuple[Curve, Look, float, float]] = []
    for curve, look in zip(panel.curves, looks, strict=True):
        if end := _end(curve):
            found.append((curve, look, *end))
    first = next((i for i, (curve, *_) in enumerate(found) if curve.index == 0), 0)
    heights = [frame.pixels(y) for *_, y in found]
    chosen = choose_end_labels(heights, first, frame.height) if found else []
    spots = spread_end_labels([heights[i] for i in chosen], 6, frame.height - 6)
    xs: list[float | None] = []
    ys: list[float | None] = []
    names: list[dict[str, Any]] = []
    axes = dict(zip(("xref", "yref"), axes_of(figure, *place), strict=True))
    start = frame.right - (frame.room - 10) / frame.width * frame.right
    for i, spot in zip(chosen, spots, strict=True):
        curve, look, x, y = found[i]
        xs += [x, start, None]
        ys += [frame.at(heights[i]), frame.at(spot), None]
        arrow = "↑" if y > frame.high else "↓" if y < frame.low else ""
        name = convergence_words.end_name(panel, curve, long=frame.room > 60)
        names.append({
            "text": f"<b>{name}</b>{arrow}" if curve.index == 0 else f"{name}{arrow}",
            "x": start, "xanchor": "left", "xshift": 1, "y": frame.at(spot), "yanchor": "middle",
            "font": {"size": 11, "color": look.colour}, "showarrow": False, **axes,
        })  # fmt: skip
    # The first trace of a panel, so that one without any data is drawn too.
    figure.add_scatter(
        x=xs or [None], y=ys or [None], mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": "#b5b5b5", "width": 0.6}, row=place[0], col=place[1],
    )  # fmt: skip
    _add_crosses(figure, panel, frame, place)
    return names


def _add_track(
    figure: go.Figure, panel: Panel, curve: Curve, track: Track, look: Look, place: Place,
    *, raw: bool,
) -> None:  # fmt: skip
    text = convergence_words.value(panel.quantity)
    template = convergence_words.hover(panel, curve, [track.trial_id], text)
    if raw and not np.array_equal(track.values, track.smoothed, equal_nan=True):
        figure.add_scatter(
            x=_whole(track.epochs), y=track.values, mode="lines", hoverinfo="skip",
            opacity=0.3 if len(panel.curves) < 7 else 0.15,
            line={"color": look.colour, "width": 0.7}, showlegend=False,
            row=place[0], col=place[1],
        )  # fmt: skip
    _add_line(figure, track.epochs, track.smoothed, look, template, place, name=track.trial_id)


def _add_line(
    figure: go.Figure, epochs: np.ndarray, values: np.ndarray, look: Look, template: str,
    place: Place, name: str = "",
) -> None:  # fmt: skip
    kept = _thin(len(epochs))
    few = len(epochs) <= FEW_EPOCHS
    figure.add_scatter(
        x=_whole(epochs[kept]), y=values[kept], mode="lines+markers" if few else "lines",
        line={"color": look.colour, "width": look.width, "dash": look.dash},
        marker={"size": 4, "color": look.colour},
        name=style.escape(name), hovertemplate=template, showlegend=False,
        row=place[0], col=place[1],
    )  # fmt: skip


def _add_band(figure: go.Figure, curve: Curve, look: Look, place: Place) -> None:
    mean = curve.mean
    kept = _thin(len(mean.epochs))
    kept = kept[np.isfinite(mean.low[kept])]
    if not len(kept):
        return
    figure.add_scatter(
        x=_whole(np.concatenate([mean.epochs[kept], mean.epochs[kept][::-1]])),
        y=np.concatenate([mean.high[kept], mean.low[kept][::-1]]),
        mode="lines", line={"width": 0}, fill="toself", opacity=0.2, fillcolor=look.colour,
        hoverinfo="skip", showlegend=False, row=place[0], col=place[1],
    )  # fmt: skip


def _add_crosses(figure: go.Figure, panel: Panel, frame: Frame, place: Place) -> None:
    """A cross at the last finite value of each diverged trial, on the border if beyond it."""
    for curve in panel.curves:
        for track in curve.tracks:
            if track.status != "diverged":
                continue
            seen = bool(len(track.epochs))
            x = int(track.epochs[-1]) if seen else track.last
            y = float(track.smoothed[-1]) if seen else frame.high
            text = f"diverged in epoch {track.last}"
            template = convergence_words.hover(panel, curve, [track.trial_id], text)
            figure.add_scatter(
                x=[x], y=[frame.at(frame.pixels(y))], mode="markers", cliponaxis=False,
                marker={"symbol": "x", "size": 8, "color": style.BAD,
                        "line": {"color": "white", "width": 0.8}},
                name=style.escape(track.trial_id), hovertemplate=template, showlegend=False,
                row=place[0], col=place[1],
            )  # fmt: skip


def _end(curve: Curve) -> tuple[float, float] | None:
    """Last epoch and value of a curve; of a cell that diverged with every seed, of the first."""
    mean = curve.mean
    if len(mean.epochs):
        return float(mean.epochs[-1]), float(mean.mean[-1])
    track = next((track for track in curve.tracks if len(track.epochs)), None)
    return (float(track.epochs[-1]), float(track.smoothed[-1])) if track else None


def _thin(count: int) -> np.ndarray:
    """Places of the points that are drawn, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).astype(int))


def _whole(epochs: np.ndarray) -> np.ndarray:
    return epochs.astype(np.int32)
