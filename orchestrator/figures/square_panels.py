"""Square panels of the plane of α and β: their arrangement and axes."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from orchestrator.figures import contour_words, style
from orchestrator.figures.panels import Grid, square_grid
from orchestrator.figures.surface_panels import Panel
from orchestrator.figures.width_columns import by_width


def arrange_squares(panels: Sequence[Panel], columns: str) -> tuple[Sequence[Panel], Grid, bool]:
    """The panels in reading order, where they stand, and whether their axes are alike.

    Args:
        panels: In the experiment's order.
        columns: "auto", or "width" for a column to each width of cells.
    """
    alike = len({panel.extent for panel in panels}) == 1
    between = 26 if alike else 44
    if columns == "width":
        panels, spots = by_width(panels)
        most = max(column for _, column in spots)
        return panels, Grid(len(panels), most, between, square=True, spots=spots), alike
    return panels, square_grid(contour_words.panel_titles(panels), between), alike


def set_plane_axes(
    figure: go.Figure, panel: Panel, shape: Grid, number: int, *, told: bool
) -> None:
    """Axes from minus to plus the panel's extent; `told` says whether β's numbers stand there."""
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
