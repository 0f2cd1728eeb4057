"""What is drawn in a panel of contours: filled bands, lines, the centre, words, the colour bar."""

from __future__ import annotations

from typing import Any

import numpy as np
import plotly.graph_objects as go

from orchestrator.figures import contour_words, style
from orchestrator.figures.log_scales import LogScale, round_numbers, tell_all
from orchestrator.figures.panels import BELOW, Grid
from orchestrator.figures.surface_panels import Panel

COLOURS = "Viridis"
LINE = {"color": "rgba(255, 255, 255, 0.55)", "width": 0.6}
EDGE = {"color": "#9a9a9a", "width": 0.8}
"""Where the blank begins."""

Place = tuple[int, int]
"""Row and column of a panel, counted from 1."""


def add_field(figure: go.Figure, panel: Panel, scale: LogScale, place: Place) -> None:
    """The losses of a panel: bands with lines, or squares where there is a single row or column."""
    plane = panel.plane
    low, high = scale.range
    heights = np.log10(np.maximum(plane.values["loss"].T, scale.low))
    finite = heights[np.isfinite(heights)]
    # What is not finite lies beyond all that is, so that its edge is as smooth as that of the cut.
    top = max(high, float(finite.max()) if finite.size else high) + scale.step
    heights = np.where(np.isfinite(heights), heights, top)
    texts, template = contour_words.point_texts(panel), contour_words.hover_points(panel)
    row, column = place
    if plane.flat:
        _add_squares(figure, panel, heights, scale, place)
        return
    first, last = scale.lines
    common = {"x": plane.alphas, "y": plane.betas, "z": heights, "showscale": False}
    figure.add_contour(
        **common, text=texts, hovertemplate=template, colorscale=COLOURS,
        zmin=low, zmax=high, line=LINE,
        contours={"start": first, "end": last, "size": scale.step, "coloring": "fill"},
        row=row, col=column,
    )  # fmt: skip
    if heights.max() > high:
        # plotly fills where the constraint does not hold.
        figure.add_contour(
            **common, hoverinfo="skip", fillcolor="white", line=EDGE, showlegend=False,
            contours={"type": "constraint", "operation": "<", "value": high},
            row=row, col=column,
        )  # fmt: skip


def _add_squares(
    figure: go.Figure, panel: Panel, heights: np.ndarray, scale: LogScale, place: Place
) -> None:
    low, high = scale.range
    x, y = np.meshgrid(panel.plane.alphas, panel.plane.betas)
    shown = (heights <= high).ravel()
    texts = [text for row in contour_words.point_texts(panel) for text in row]
    figure.add_scatter(
        x=x.ravel()[shown], y=y.ravel()[shown], mode="markers", cliponaxis=False,
        text=[text for text, kept in zip(texts, shown, strict=True) if kept],
        hovertemplate=contour_words.hover_points(panel), showlegend=False,
        marker={"symbol": "square", "size": 16, "color": heights.ravel()[shown],
                "colorscale": COLOURS, "cmin": low, "cmax": high},
        row=place[0], col=place[1],
    )  # fmt: skip


def add_centre(figure: go.Figure, panel: Panel, place: Place) -> None:
    """A white cross at the trained weights, told from white ground by its rim."""
    figure.add_scatter(
        x=[0], y=[0], mode="markers", showlegend=False,
        marker={"symbol": "x", "size": 8, "color": "white",
                "line": {"color": style.INK, "width": 0.7}},
        hovertext=[contour_words.hover_centre(panel)], hoverinfo="text",
        row=place[0], col=place[1],
    )  # fmt: skip


def add_words(figure: go.Figure, words: str, drawn: bool, place: Place) -> None:
    """Words in the middle of an empty panel, or in the corner of one that is drawn."""
    # plotly leaves out a panel without a trace, its axes and words too.
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        row=place[0], col=place[1],
    )  # fmt: skip
    if not words:
        return
    corner: dict[str, Any] = {
        "x": 0, "xanchor": "left", "y": 0, "yanchor": "bottom",
        "bgcolor": "rgba(255, 255, 255, 0.85)",
    }  # fmt: skip
    middle: dict[str, Any] = {"x": 0.5, "xanchor": "center", "y": 0.5, "yanchor": "middle"}
    figure.add_annotation(
        text=words, xref="x domain", yref="y domain", showarrow=False,
        font={"size": style.SMALL, "color": style.INK if drawn else style.GREY},
        **(corner if drawn else middle), row=place[0], col=place[1],
    )  # fmt: skip


def add_bar(figure: go.Figure, shape: Grid, scale: LogScale, title: str) -> None:
    """The colour bar of all panels, in place of a legend of two lines."""
    low, high = scale.range
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip",
        marker={
            "color": [low], "cmin": low, "cmax": high, "colorscale": COLOURS, "showscale": True,
            "colorbar": bar(shape, scale, title),
        },
    )  # fmt: skip


def bar(shape: Grid, scale: LogScale, title: str) -> dict[str, Any]:
    """A colour bar below all panels with numbers along it, of colours that are log₁₀ of them."""
    numbers = round_numbers(scale.low, scale.high)
    return {
        "orientation": "h", "thickness": 12, "len": 0.62, "x": 0.5, "xanchor": "center",
        "y": -(BELOW + 2) / shape.height, "yanchor": "top", "ypad": 0, "outlinewidth": 0,
        "tickvals": [float(np.log10(number)) for number in numbers],
        "ticktext": tell_all(numbers),
        "tickfont": {"size": style.SMALL}, "ticks": "outside",
        "title": {"text": title, "side": "right", "font": {"size": 13}},
    }  # fmt: skip
