"""Figures 3 to 5 and 12 to 16: loss and accuracy over the epochs of training.

The paper reads off that the base converges fastest and most stably, and that variants approach it
as they get wider and shallower (Section 4.1, Appendix B.2). Names at the ends of the curves, their
dashes and a colour that darkens with the width tell them apart; the base is black.
"""

from __future__ import annotations

import plotly.graph_objects as go

from orchestrator.figures import convergence_words, style
from orchestrator.figures.convergence_curves import Convergence, Panel, convergence_data
from orchestrator.figures.convergence_looks import looks
from orchestrator.figures.convergence_marks import Frame, add_curve, add_ends
from orchestrator.figures.panels import Grid, add_annotations, axes_of, grid, make_panels
from orchestrator.figures.scales import END_LABEL_HEIGHT, ticks

__all__ = ["Convergence", "convergence_data", "plot_convergence"]

MOST_RAW = 60_000
"""Epochs of all panels up to which each is drawn, and not the smoothed curves alone."""

ROOM, NARROW_ROOM = 76, 46
"""For names beside the curves, in pixels; the second where panels are narrow."""


def plot_convergence(data: Convergence, title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
    """
    panels = data.panels
    shape = grid(len(panels), _columns(panels))
    seen = looks(data)
    raw = sum(len(track.epochs) for panel in panels for track in panel.tracks) <= MOST_RAW
    room = ROOM if shape.panel_width > 200 else NARROW_ROOM
    titles = convergence_words.panel_titles(panels)
    unnamed = max(len(panel.curves) for panel in panels) > shape.panel_height // END_LABEL_HEIGHT
    said = convergence_words.note(data, raw=raw, unnamed=unnamed)
    figure = make_panels(shape, titles, title, convergence_words.subtitle(data), said, (0,))
    last, names = max(data.epochs, 1), []
    for number, panel in enumerate(panels):
        place = shape.place(number)
        low, high = data.ranges[panel.scale]
        frame = Frame(last, low, high, shape.panel_width, shape.panel_height, room)
        own = [seen[panel.base, curve.index, curve.variant] for curve in panel.curves]
        # Bases last, so that none of their variants covers them.
        for curve, look in sorted(
            zip(panel.curves, own, strict=True), key=lambda pair: -pair[0].index
        ):
            add_curve(figure, panel, curve, look, place, raw=raw)
        names += add_ends(figure, panel, own, frame, place)
        if not any(len(track.epochs) for track in panel.tracks):
            x, y = axes_of(figure, *place)
            names.append({
                "text": "no epoch yet", "x": 0.5, "xref": f"{x} domain", "y": 0.5,
                "yref": f"{y} domain", "showarrow": False,
                "font": {"size": style.SMALL, "color": style.GREY},
            })  # fmt: skip
        _set_axes(figure, panels, frame, shape, number)
    add_annotations(figure, names)
    return figure


def _columns(panels: tuple[Panel, ...]) -> int:
    """Of the last facet that varies where others do too, so that rows and columns mean something.

    0 where a single facet or none varies, and any arrangement will do.
    """
    facets = ("quantity", "learning_rate", "base", "dataset", "group")
    counts = [len({getattr(panel, facet) for panel in panels}) for facet in facets]
    varied = [count for count in counts if count > 1]
    if len(varied) < 2:
        return 0
    return varied[-1] if varied[-1] <= 3 else 3 if varied[-1] % 3 == 0 else 2


def _set_axes(
    figure: go.Figure, panels: tuple[Panel, ...], frame: Frame, shape: Grid, number: int
) -> None:
    row, column = shape.place(number)
    epochs, _ = ticks(0, frame.last, 5)
    figure.update_xaxes(
        range=[0, frame.right], tickvals=[epoch for epoch in epochs if epoch == int(epoch)],
        title_text="Epoch" if shape.is_lowest(number) else None, row=row, col=column,
    )  # fmt: skip
    quantity = panels[number].quantity
    told = column == 1 or panels[number - 1].quantity != quantity
    numbers, decimals = ticks(frame.low, frame.high, 6)
    figure.update_yaxes(
        range=[frame.low, frame.high], tickvals=numbers, tickformat=f".{decimals}f",
        title_text=convergence_words.QUANTITIES[quantity] if told else None,
        row=row, col=column,
    )  # fmt: skip
