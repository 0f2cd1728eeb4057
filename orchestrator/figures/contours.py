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

from orchestrator.figures import contour_words, style
from orchestrator.figures.contour_marks import add_bar, add_centre, add_field, add_words
from orchestrator.figures.log_scales import LogScale, shared_scale
from orchestrator.figures.panels import Grid, make_panels, square_grid
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


def plot_contours(data: Contours, title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
    """
    panels, scale = data.panels, data.scale
    titles = contour_words.panel_titles(panels)
    alike = len({panel.extent for panel in panels}) == 1
    shape = square_grid(titles, between=26 if alike else 44)
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
        _set_axes(figure, panel, shape, number, told=not alike or place[1] == 1)
    if scale:
        add_bar(figure, shape, scale, f"{contour_words.loss_word(panels)} loss (nat)")
    return figure


def _set_axes(figure: go.Figure, panel: Panel, shape: Grid, number: int, *, told: bool) -> None:
    row, column = shape.place(number)
    parts = (-1, -0.5, 0, 0.5, 1) if shape.panel_width > 200 else (-1, 0, 1)
    ticks = [part * panel.extent for part in parts]
    common = {
        "range": [-panel.extent, panel.extent], "constrain": "domain", "mirror": True,
        "tickvals": ticks, "ticktext": [f"{tick:g}".replace("-", "−") for tick in ticks],
        "showgrid": False, "zeroline": False,
    }  # fmt: skip
    title = "α" if shape.is_lowest(number) else None
    figure.update_xaxes(**common, title_text=title, row=row, col=column)
    figure.update_yaxes(
        **common, title_text="β" if column == 1 else None,
        showticklabels=told, ticks="outside" if told else "",
        scaleanchor="x" if number == 0 else f"x{number + 1}", title_standoff=2,
        row=row, col=column,
    )  # fmt: skip
    figure.update_xaxes(tickfont_size=style.SMALL, row=row, col=column)
    figure.update_yaxes(tickfont_size=style.SMALL, row=row, col=column)
