"""Figures 8 and 21 to 24: the gradient's variance as surfaces over a plane through the weights.

The paper reads off that the surface rises from the base to its narrow variants (Section 4.2.2,
Appendix B.4). All panels share the range of their vertical axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import contour_words, style, variances
from orchestrator.figures.contour_marks import COLOURS, bar
from orchestrator.figures.log_scales import LogScale, round_numbers, tell_all
from orchestrator.figures.panels import Grid, make_panels
from orchestrator.figures.square_panels import arrange_squares
from orchestrator.figures.surface_panels import Panel
from orchestrator.figures.variances import Variances, read_variances

__all__ = ["Variances", "plot_variance_surfaces", "variance_surfaces_data"]

FAR_EYE = {"x": -1.7, "y": -2.1, "z": 1.0}
EYE, CENTRE = {"x": -1.5, "y": -1.87, "z": 0.87}, {"x": -0.05, "y": 0.04, "z": -0.17}
"""From where and whereto one looks: far enough, and low enough, that no label is cut;
further off for a small panel, with which labels do not shrink."""


def variance_surfaces_data(
    surfaces: pd.DataFrame, points: pd.DataFrame, *, quantity: str = "std"
) -> Variances:
    """The numbers of the figure; see `variances.read_variances`."""
    return read_variances("variance_surfaces", surfaces, points, quantity)


def plot_variance_surfaces(data: Variances, title: str, *, columns: str = "auto") -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
        columns: "auto", or "width" for a column to each width of cells.
    """
    scale = data.scale
    panels, flat, _ = arrange_squares(data.panels, columns)
    shape = replace(flat, scenes=True, between=0)
    titles = contour_words.panel_titles(panels)
    said, note = contour_words.subtitle(panels), variances.note(data)
    figure = make_panels(shape, titles, title, said, note, [2] if scale else [0])
    unbarred = scale
    for number, panel in enumerate(panels):
        z = np.zeros((0, 0))
        if scale and not panel.plane.empty and not panel.plane.flat:
            z = variances.heights(panel, scale)
        drawn = bool(np.isfinite(z).any())
        if scale and drawn:
            _add_surface(figure, panel, z, scale, shape, number)
            if unbarred:
                figure.data[-1].update(
                    showscale=True, colorbar=bar(shape, scale, variances.AXES[data.quantity])
                )
                unbarred = None
            _set_scene(figure, shape, number, panel.extent, scale, variances.SYMBOLS[data.quantity])
        _add_words(figure, contour_words.shortfall(panel, drawn, "variance"), drawn, number)
    return figure


def _add_surface(
    figure: go.Figure, panel: Panel, z: np.ndarray, scale: LogScale, shape: Grid, number: int
) -> None:
    low, high = scale.range
    row, column = shape.place(number)
    figure.add_surface(
        x=panel.plane.alphas, y=panel.plane.betas, z=z, cmin=low, cmax=high, colorscale=COLOURS,
        showscale=False, lighting={"ambient": 0.75, "specular": 0.05}, connectgaps=False,
        text=variances.texts(panel), hovertemplate=variances.hover(panel), row=row, col=column,
    )  # fmt: skip


def _set_scene(
    figure: go.Figure, shape: Grid, number: int, extent: float, scale: LogScale, symbol: str
) -> None:
    wide = shape.panel_width > 200
    # The lowest would lie on the numbers of β.
    above = scale.low * (scale.high / scale.low) ** 0.12
    numbers = _few(round_numbers(above, scale.high), 6 if wide else 3)
    common = {"tickfont": {"size": 11 if wide else 10}, "showspikes": False, "showbackground": True,
              "backgroundcolor": "#f7f7f7", "gridcolor": "#dddddd"}  # fmt: skip

    def side(name: str) -> dict[str, Any]:
        # A small scene has no room for titles: there the name stands for the 0 in the middle.
        middle, text = ("0", name) if wide else (name, "")
        return {
            "range": [-extent, extent], "tickvals": [-extent, 0, extent],
            "ticktext": [f"−{extent:g}", middle, f"{extent:g}"], **common,
            "title": {"text": text, "font": {"size": 12}},
        }  # fmt: skip

    low, high = scale.range
    row, column = shape.place(number)
    figure.update_scenes(
        xaxis=side("α"), yaxis=side("β"),
        zaxis={**common, "range": [low, high],
               "tickvals": [float(np.log10(number)) for number in numbers],
               "ticktext": tell_all(numbers, most=1e3),
               "title": {"text": symbol if wide else "", "font": {"size": 12}}},
        aspectmode="cube", camera={"eye": EYE if wide else FAR_EYE, "center": CENTRE},
        row=row, col=column,
    )  # fmt: skip


def _add_words(figure: go.Figure, words: str, drawn: bool, number: int) -> None:
    """Words in the middle of an empty panel, or below what is drawn."""
    if not words:
        return
    domain: Any = figure.layout[f"scene{number + 1 if number else ''}"].domain
    (left, right), (bottom, top) = domain.x, domain.y
    figure.add_annotation(
        text=words, x=(left + right) / 2, y=bottom if drawn else (bottom + top) / 2,
        xref="paper", yref="paper", yanchor="bottom" if drawn else "middle", showarrow=False,
        font={"size": style.SMALL, "color": style.INK if drawn else style.GREY},
    )  # fmt: skip


def _few(numbers: Sequence[float], most: int) -> list[float]:
    """Every n-th, so that there are `most` at most."""
    return list(numbers[:: -(-len(numbers) // most)])
