"""Figure 9: test accuracy at convergence by the index of the cell, one panel to a base.

The paper reads off it that bases beat most, but not all, of their variants (Section 5). A
dashed line lies at the base's own accuracy, so that what beats it stands above the line.
"""

from __future__ import annotations

import math

import plotly.graph_objects as go

from orchestrator.figures import style
from orchestrator.figures.accuracy import AccuracyByIndex, Panel, accuracy_by_index_data
from orchestrator.figures.accuracy_marks import Frame, Mark, frame_panel, mark_point
from orchestrator.figures.accuracy_words import note, subtitle
from orchestrator.figures.panels import Grid, grid, make_panels
from orchestrator.figures.scales import Box, place_label, ticks

__all__ = ["AccuracyByIndex", "accuracy_by_index_data", "plot_accuracy_by_index"]

MARKERS = {
    "one seed": {"symbol": "circle", "size": 5, "opacity": 0.4},
    "variant": {"symbol": "circle", "size": 8},
    "base": {"symbol": "diamond", "size": 11},
    "diverged": {"symbol": "x", "size": 8},
    "below range": {"symbol": "triangle-down", "size": 10},
    "above range": {"symbol": "triangle-up", "size": 10},
}
"""Kind of mark to its look, in the order of drawing."""


def plot_accuracy_by_index(data: AccuracyByIndex, title: str) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The numbers.
        title: Plain text.
    """
    datasets = len({(panel.named_dataset, panel.dataset) for panel in data.panels})
    shape = grid(len(data.panels), datasets if datasets > 1 else 0)
    titles = [
        f"{panel.base}, {panel.dataset}" if datasets > 1 else panel.base for panel in data.panels
    ]
    rates = data.learning_rates
    legends = [1, math.ceil(len(rates) / 3)] if len(rates) > 1 else [1]
    figure = make_panels(shape, titles, title, subtitle(data), note(data), legends)
    last = max([1, *(point.index for point in data.points)])
    kinds: set[str] = set()
    for number, panel in enumerate(data.panels):
        frame = frame_panel(panel, last, shape.panel_width, shape.panel_height)
        row, column = shape.place(number)
        everything: list[Mark] = []
        for line in panel.series:
            rank = rates.index(line.learning_rate) if len(rates) > 1 else None
            shift = 0.8 / max(len(rates), 4) * ((rank or 0) - (len(rates) - 1) / 2)
            marks = [mark for point in line.points for mark in mark_point(point, shift, frame)]
            _add_marks(figure, marks, rank, frame, row, column)
            everything += marks
        kinds |= {mark.kind for mark in everything}
        _add_base_lines(figure, panel, rates, frame, everything, row, column)
        _set_axes(figure, frame, shape, number)
    _add_legend(figure, kinds, rates)
    return figure


def _add_marks(
    figure: go.Figure, marks: list[Mark], rank: int | None, frame: Frame, row: int, column: int
) -> None:
    for kind, marker in MARKERS.items():
        chosen = [mark for mark in marks if mark.kind == kind]
        if not chosen:
            continue
        whiskers = [0.0 if math.isnan(mark.whisker) else mark.whisker for mark in chosen]
        figure.add_scatter(
            name=kind,
            # Labels of several learning rates would lie on one another; the mouse tells them.
            mode="markers+text" if rank is None else "markers",
            x=[mark.x for mark in chosen],
            y=[mark.y for mark in chosen],
            text=_labels(chosen, frame) if rank is None else None,
            textposition=["bottom center" if m.y > frame.high else "top center" for m in chosen],
            textfont={"size": 11 if frame.x_pixels > 18 else 10, "color": style.GREY},
            hovertext=[mark.hover for mark in chosen],
            hoverinfo="text",
            marker={"color": _colour(kind, rank), **marker},
            error_y={"array": whiskers, "width": 0, "thickness": 1.3} if any(whiskers) else None,
            showlegend=False,
            row=row,
            col=column,
        )


def _labels(marks: list[Mark], frame: Frame) -> list[str]:
    """The marks' labels; where they are too close, one for neighbours that say the same."""
    labels = {mark.x: mark.label for mark in marks} if frame.x_pixels < 18 else {}
    return ["" if labels.get(mark.x - 1) == mark.label else mark.label for mark in marks]


def _add_base_lines(
    figure: go.Figure,
    panel: Panel,
    rates: list[float],
    frame: Frame,
    marks: list[Mark],
    row: int,
    column: int,
) -> None:
    """The dashed line of each learning rate, named where it covers the fewest marks."""
    name = style.shorten(panel.base, 20)
    taken = [(mark.x * frame.x_pixels, mark.y * frame.y_pixels) for mark in marks]
    window = Box(
        -0.5 * frame.x_pixels,
        frame.bottom * frame.y_pixels,
        (frame.last + 0.5) * frame.x_pixels,
        frame.top * frame.y_pixels,
    )
    for line in panel.series:
        y = line.base_accuracy
        if not frame.low <= y <= frame.high:
            continue
        colour = _colour("base", rates.index(line.learning_rate) if len(rates) > 1 else None)
        figure.add_shape(
            type="line", xref="x domain", x0=0, x1=1, y0=y, y1=y, layer="below", opacity=1,
            line={"color": colour, "width": 1.3, "dash": "dash"}, row=row, col=column,
        )  # fmt: skip
        width = 8 + style.LETTER * len(name)
        box = place_label(y * frame.y_pixels, width, 17, window, taken)
        taken += box.middle_points(8)
        figure.add_annotation(
            text=style.escape(name), font={"size": 13, "color": colour}, showarrow=False,
            x=box.left / frame.x_pixels, xanchor="left",
            y=y, yanchor="bottom" if box.bottom >= y * frame.y_pixels else "top",
            row=row, col=column,
        )  # fmt: skip


def _set_axes(figure: go.Figure, frame: Frame, shape: Grid, number: int) -> None:
    row, column = shape.place(number)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, frame.last) if s * frame.x_pixels >= 20)
    title = "Index of the cell (0 = base)" if shape.panel_width > 240 else "Index of the cell"
    figure.update_xaxes(
        range=[-0.6, frame.last + 0.6], tick0=0, dtick=step, tickangle=0,
        title_text=title if shape.is_lowest(number) else None, row=row, col=column,
    )  # fmt: skip
    numbers, decimals = ticks(frame.low, min(frame.high, 100.0))
    figure.update_yaxes(
        range=[frame.bottom, frame.top], tickvals=numbers, tickformat=f".{decimals}f",
        title_text="Test accuracy (%)" if column == 1 else None, row=row, col=column,
    )  # fmt: skip
    for low, high in ((frame.bottom, frame.low), (frame.high, frame.top)):
        if low < high:
            figure.add_shape(
                type="rect", xref="x domain", x0=0, x1=1, y0=low, y1=high, layer="below",
                fillcolor="#f1f1f1", opacity=1, line_width=0, row=row, col=column,
            )  # fmt: skip


def _add_legend(figure: go.Figure, kinds: set[str], rates: list[float]) -> None:
    """Keys that stand for no data: one to a kind of mark, one to a learning rate."""
    several = len(rates) > 1
    for kind, marker in MARKERS.items():
        if kind in kinds:
            colour = _colour(kind, None) if kind == "diverged" or not several else style.GREY
            _add_key(figure, kind, {**marker, "color": colour}, "legend")
    for rank, rate in enumerate(rates if several else ()):
        square = {"symbol": "square", "size": 10, "color": _colour("variant", rank)}
        _add_key(figure, f"learning rate {rate:g}", square, "legend2")


def _add_key(figure: go.Figure, name: str, marker: dict[str, object], legend: str) -> None:
    figure.add_scatter(
        name=name, mode="markers", x=[None], y=[None], marker=marker, legend=legend,
        hoverinfo="skip",
    )  # fmt: skip


def _colour(kind: str, rank: int | None) -> str:
    """By learning rate where there are several, `rank` counting them; else by kind."""
    if kind == "diverged":
        return style.BAD
    if rank is None:
        return style.PALETTE[1] if kind == "base" else style.PALETTE[0]
    return style.PALETTE[rank % len(style.PALETTE)]
