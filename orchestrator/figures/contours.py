"""Figures 6 and 17–20: the test loss on a plane through each trained network's weights.

The paper reads off how wide, smooth and convex the basin of a cell is (Section 4.2.1, Appendix
B.3): lighter is a larger loss, dense lines are a steep slope, blank is extremely large. Here all
panels share one logarithmic scale, so that colours may be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures import contour_words
from orchestrator.figures.contour_marks import add_bar, add_centre, add_field, add_words
from orchestrator.figures.log_scales import LogScale, shared_scale
from orchestrator.figures.panels import make_panels
from orchestrator.figures.square_panels import arrange_squares, set_plane_axes
from orchestrator.figures.surface_panels import Panel, read_panels

__all__ = ["Contours", "contours_data", "plot_contours"]


@dataclass(frozen=True)
class Contours:
    """The panels in the experiment's order.

    Attributes:
        panels: One per member and surface; their planes hold `loss` in nat and `accuracy`.
        scale: Of all losses; None while there is no finite one.
    """

    panels: tuple[Panel, ...]
    scale: LogScale | None


def contours_data(surfaces: pd.DataFrame, points: pd.DataFrame) -> Contours:
    """The numbers of the figure.

    Args:
        surfaces: As `Results.surfaces(experiment)` returns them.
        points: As `Results.points(experiment)` returns them.

    Raises:
        ConfigError: There is no contour, or a column is lacking or has empty places.
    """
    panels = read_panels("contours", "contour", surfaces, points, ("loss", "accuracy"))
    return Contours(panels, shared_scale(panel.plane.values["loss"] for panel in panels))


def plot_contours(data: Contours, title: str, *, columns: str = "auto") -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
        columns: "auto", or "width" for a column to each width of cells, as in Figures 17 to 20.
    """
    scale = data.scale
    panels, shape, alike = arrange_squares(data.panels, columns)
    titles = contour_words.panel_titles(panels)
    said = contour_words.subtitle(panels)
    bar = [2] if scale else [0]
    figure = make_panels(shape, titles, title, said, contour_words.note(panels, scale), bar)
    for number, panel in enumerate(panels):
        place = shape.place(number)
        drawn = False
        if scale and not panel.plane.empty:
            add_field(figure, panel, scale, place)
            losses = panel.plane.values["loss"]
            drawn = bool((np.isfinite(losses) & (losses <= scale.high)).any())
            if drawn:
                add_centre(figure, panel, place)
        add_words(figure, contour_words.shortfall(panel, drawn), drawn, place)
        set_plane_axes(figure, panel, shape, number, told=not alike or place[1] == 1)
    if scale:
        add_bar(figure, shape, scale, f"{contour_words.loss_word(panels)} loss (nat)")
    return figure
