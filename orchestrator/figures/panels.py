"""Several panels on one page: how many to a row, over which range, and what stands around them.

Everything around the panels is placed in pixels from their edges, so that no label is clipped
or overlaps whatever the number of panels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.figures import style

PANEL_HEIGHT = {1: 330, 2: 210, 3: 190}
"""Pixels, by the number of panels in a row."""

LEFT, RIGHT, ABOVE, TICKS, BELOW = 62, 14, 28, 26, 50
"""Pixels around a panel: for its axis, its title, its ticks and those with the axis's title."""

LEGEND = 28
"""Height of a line of the legend, in pixels."""

KEY = {
    "orientation": "h",
    "x": (8 - LEFT) / (style.PAGE_WIDTH - LEFT - RIGHT),
    "xanchor": "left",
    "font": {"size": 13},
    "itemclick": False,
    "itemdoubleclick": False,
}
"""The look of a legend."""


@dataclass(frozen=True)
class Grid:
    """Panels in reading order, `columns` to a row.

    Attributes:
        count: How many.
        columns: In a row.
        between: Two panels of a row, in pixels.
        square: Whether a panel is as high as it is wide, up to the height of one alone.
        scenes: Whether panels are three-dimensional, and so have their axes within them.
        spots: Row and column of each panel, counted from 1, where columns mean something and some
            end before others; in reading order.
    """

    count: int
    columns: int
    between: float = LEFT + RIGHT
    square: bool = False
    scenes: bool = False
    spots: tuple[tuple[int, int], ...] = ()

    @property
    def rows(self) -> int:
        """How many rows the panels fill."""
        if self.spots:
            return max(row for row, _ in self.spots)
        return -(-self.count // self.columns)

    @property
    def panel_width(self) -> float:
        """Of the plotting area of one panel, in pixels."""
        gaps = (self.columns - 1) * self.between
        return (style.PAGE_WIDTH - LEFT - RIGHT - gaps) / self.columns

    @property
    def panel_height(self) -> float:
        """Of the plotting area of one panel, in pixels."""
        if self.square:
            return min(self.panel_width, PANEL_HEIGHT[1])
        return PANEL_HEIGHT[self.columns]

    @property
    def letters(self) -> int:
        """How many of a panel's title fit beside the letter that numbers it."""
        return int((self.panel_width - 24) / style.LETTER)

    @property
    def gap(self) -> float:
        """Between two rows, in pixels; an axis has its title where no panel stands below it."""
        if self.scenes:
            return ABOVE
        full = self.count == self.rows * self.columns
        return ABOVE + (TICKS if full else BELOW)

    @property
    def height(self) -> float:
        """Of all panels and the gaps between them, in pixels."""
        return self.rows * self.panel_height + (self.rows - 1) * self.gap

    def place(self, panel: int) -> tuple[int, int]:
        """Row and column of a panel, counted from 1."""
        if self.spots:
            return self.spots[panel]
        return panel // self.columns + 1, panel % self.columns + 1

    def is_lowest(self, panel: int) -> bool:
        """Whether no panel stands below this one."""
        row, column = self.place(panel)
        return not self.holds(row + 1, column)

    def holds(self, row: int, column: int) -> bool:
        """Whether a panel stands there."""
        if self.spots:
            return (row, column) in self.spots
        return (row - 1) * self.columns + column <= self.count


def grid(count: int, columns: int = 0) -> Grid:
    """One panel alone, two to a row for 2 and 4, else three; or the columns asked for, up to 3."""
    if columns < 1:
        columns = count if count < 4 else 2 if count == 4 else 3
    return Grid(count, min(columns, count, 3))


def square_grid(titles: Sequence[str], between: float = LEFT + RIGHT) -> Grid:
    """Square panels: two to a row for 2 and 4, four for 7, 8 and more than 9, else three.

    There are fewer to a row, down to two, where a title would not fit.
    """
    count = len(titles)
    most = count if count < 4 else {4: 2, 5: 3, 6: 3, 9: 3}.get(count, 4)
    shapes = [Grid(count, columns, between, square=True) for columns in range(most, 0, -1)]
    longest = max(map(len, titles))
    return next((s for s in shapes if s.columns <= 2 or longest <= s.letters), shapes[-1])


def make_panels(
    shape: Grid,
    titles: Sequence[str],
    title: str,
    subtitle: str,
    note: str,
    legends: Sequence[int] = (1,),
) -> go.Figure:
    """An empty figure with its panels lettered (a), (b), … and its words in place.

    Args:
        shape: The panels.
        titles: One per panel, plain text.
        title: Above the figure, plain text.
        subtitle: Below the title, plain text.
        note: Below the legends, plain text.
        legends: How many lines each takes: the layout's `legend`, `legend2`, …
    """
    figure = make_subplots(
        shape.rows,
        shape.columns,
        horizontal_spacing=shape.between / (style.PAGE_WIDTH - LEFT - RIGHT),
        vertical_spacing=shape.gap / shape.height if shape.rows > 1 else 0,
        specs=[
            [{"type": "scene" if shape.scenes else "xy"} if shape.holds(row, column) else None
             for column in range(1, shape.columns + 1)]
            for row in range(1, shape.rows + 1)
        ],
    )  # fmt: skip
    heading, under = style.lines(title, 17), style.lines(subtitle, 13)
    small = style.lines(note, style.SMALL)
    top = 18 + 22 * len(heading) + 17 * len(under) + ABOVE
    bottom = BELOW + LEGEND * sum(legends) + 16 * len(small) + 8
    figure.update_layout(
        template=style.template(),
        meta=title,
        width=style.PAGE_WIDTH,
        height=top + shape.height + bottom,
        margin={"l": LEFT, "r": RIGHT, "t": top, "b": bottom, "autoexpand": False},
    )
    for number in range(len(legends)):
        y = -(BELOW + LEGEND * sum(legends[:number])) / shape.height
        figure.update_layout(
            {f"legend{number + 1 if number else ''}": {**KEY, "y": y, "yanchor": "top"}}
        )
    _write_lines(figure, heading, 17, top - 10, step=22, bold=True)
    _write_lines(figure, under, 13, top - 12 - 22 * len(heading), step=17)
    _write_lines(figure, small, style.SMALL, -(BELOW + LEGEND * sum(legends)), step=16, above=False)
    named = []
    for panel, name in enumerate(titles):
        letter = f"<b>({chr(ord('a') + panel % 26)})</b> " if shape.count > 1 else ""
        text = letter + style.escape(style.shorten(name, shape.letters))
        named.append({"text": text, "showarrow": False, **_above(figure, shape, panel)})
    add_annotations(figure, named)
    return figure


def add_annotations(figure: go.Figure, annotations: Iterable[dict[str, Any]]) -> None:
    """Adds many at once: added one by one, each has plotly make all before it anew."""
    figure.layout.annotations = (*figure.layout.annotations, *annotations)


def axes_of(figure: go.Figure, row: int, column: int) -> tuple[str, str]:
    """What annotations call the axes of a flat panel, such as x2 and y2."""
    panel: Any = figure.get_subplot(row, column)
    return panel.xaxis.plotly_name.replace("axis", ""), panel.yaxis.plotly_name.replace("axis", "")


def _above(figure: go.Figure, shape: Grid, panel: int) -> dict[str, Any]:
    """Where the title of a panel stands."""
    common = {"xanchor": "left", "yanchor": "bottom", "yshift": 3}
    if shape.scenes:
        domain: Any = figure.layout[f"scene{panel + 1 if panel else ''}"].domain
        return {**common, "x": domain.x[0], "y": domain.y[1], "xref": "paper", "yref": "paper"}
    x, y = axes_of(figure, *shape.place(panel))
    return common | {"x": 0, "xref": f"{x} domain", "y": 1, "yref": f"{y} domain"}


def _write_lines(
    figure: go.Figure,
    texts: Sequence[str],
    size: float,
    top: float,
    *,
    step: int,
    bold: bool = False,
    above: bool = True,
) -> None:
    """Lines of text from the left edge, `top` pixels above the upper or lower end of all panels."""
    for number, text in enumerate(texts):
        figure.add_annotation(
            text=f"<b>{text}</b>" if bold else text,
            font={"size": size, "color": style.INK if bold else style.GREY},
            x=0, xref="paper", xanchor="left", xshift=8 - LEFT, align="left",
            y=1 if above else 0, yref="paper", yanchor="top", yshift=top - step * number,
            showarrow=False,
        )  # fmt: skip
