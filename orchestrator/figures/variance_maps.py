"""Figure 7: heat maps of the gradient's variance on a plane through each trained network's weights.

The paper reads off that the region of low variance shrinks from the base to its narrow variants
(Section 4.2.2): lighter is larger.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import contour_words, variances
from orchestrator.figures.contour_marks import COLOURS, add_bar, add_centre, add_words
from orchestrator.figures.log_scales import LogScale
from orchestrator.figures.panels import make_panels
from orchestrator.figures.square_panels import arrange_squares, set_plane_axes
from orchestrator.figures.surface_panels import Panel
from orchestrator.figures.variances import Variances, read_variances

__all__ = ["Variances", "plot_variance_maps", "variance_maps_data"]


def variance_maps_data(
    surfaces: pd.DataFrame, points: pd.DataFrame, *, quantity: str = "std"
) -> Variances:
    """The numbers of the figure; see `variances.read_variances`."""
    return read_variances("variance_maps", surfaces, points, quantity)


def plot_variance_maps(data: Variances, title: str, *, columns: str = "auto") -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
        columns: "auto", or "width" for a column to each width of cells.
    """
    scale = data.scale
    panels, shape, alike = arrange_squares(data.panels, columns)
    titles = contour_words.panel_titles(panels)
    said, note = contour_words.subtitle(panels), variances.note(data)
    figure = make_panels(shape, titles, title, said, note, [2] if scale else [0])
    for number, panel in enumerate(panels):
        place = shape.place(number)
        drawn = bool(scale) and not panel.plane.empty
        if scale and drawn:
            drawn = _add_map(figure, panel, scale, place)
            add_centre(figure, panel, place)
        add_words(figure, contour_words.shortfall(panel, drawn, "variance"), drawn, place)
        set_plane_axes(figure, panel, shape, number, told=not alike or place[1] == 1)
    if scale:
        add_bar(figure, shape, scale, variances.AXES[data.quantity])
    return figure


def _add_map(figure: go.Figure, panel: Panel, scale: LogScale, place: tuple[int, int]) -> bool:
    """A heat map; returns whether any of it is within the scale."""
    low, high = scale.range
    z = variances.heights(panel, scale)
    step = 2 * panel.extent
    figure.add_heatmap(
        x=panel.plane.alphas, y=panel.plane.betas, z=z, zmin=low, zmax=high, colorscale=COLOURS,
        # A single row or column has no step of its own.
        dx=step, dy=step, zsmooth=False, showscale=False, hoverongaps=False,
        text=variances.texts(panel), hovertemplate=variances.hover(panel),
        row=place[0], col=place[1],
    )  # fmt: skip
    return bool(np.isfinite(z).any())
