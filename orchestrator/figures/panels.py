"""Several panels on one page: how many to a row, in which columns, and what stands around them.

Everything around the panels is placed in pixels from their edges, so that no label is clipped
or overlaps, whatever the number of panels.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from orchestrator.figures import style

PANEL_HEIGHT = {1: 330, 2: 210, 3: 190}
"""Pixels, by the number of panels in a row; less where a panel would be higher than wide."""

NARROWEST, NARROWEST_SQUARE = 150, 110
"""Least width of a panel that has others beside it, in pixels."""

LEFT, RIGHT, ABOVE, TICKS, BELOW = 62, 14, 28, 26, 50
"""Pixels around a panel: for its axis, its title, its ticks and those with the axis's title."""

LEGEND = 28
"""Height of a line of the legend, in pixels."""

LEGEND_LAYOUT = {
    "orientation": "h",
    "xanchor": "left",
    "font": {"size": 13},
    "itemclick": False,
    "itemdoubleclick": False,
}

MOST_COLUMNS = 4
"""Columns of panels that are arranged by width."""

Place = tuple[int, int]
"""Row and column of a panel, counted from 1."""


@dataclass(frozen=True)
class Grid:
    """Where panels stand, in reading order; a column may end before others."""

    places: Sequence[Place]
    between: float = LEFT + RIGHT  # distance of two panels of a row, in pixels
    square: bool = False  # whether a panel is as high as it is wide, up to the height of one alone
    scenes: bool = False  # whether panels are three-dimensional, and so have their axes within them

    @property
    def rows(self) -> int:
        """How many rows the panels fill."""
        return max(row for row, _ in self.places)

    @property
    def columns(self) -> int:
        """How many panels the fullest row has."""
        return max(column for _, column in self.places)

    @property
    def panel_width(self) -> float:
        """Width of the plotting area of one panel, in pixels."""
        gaps = (self.columns - 1) * self.between
        return (style.page_width() - LEFT - RIGHT - gaps) / self.columns

    @property
    def panel_height(self) -> float:
        """Height of the plotting area of one panel, in pixels."""
        if self.square:
            return min(self.panel_width, PANEL_HEIGHT[1])
        return min(PANEL_HEIGHT[self.columns], max(PANEL_HEIGHT[3], 0.75 * self.panel_width))

    @property
    def letters(self) -> int:
        """How many letters of a panel's title fit beside the letter that numbers it."""
        return int((self.panel_width - 24) / style.LETTER)

    @property
    def gap(self) -> float:
        """Distance of two rows in pixels; an axis has its title where no panel stands below it."""
        if self.scenes:
            return ABOVE
        full = len(self.places) == self.rows * self.columns
        return ABOVE + (TICKS if full else BELOW)

    @property
    def height(self) -> float:
        """Height of all panels and the gaps between them, in pixels."""
        return self.rows * self.panel_height + (self.rows - 1) * self.gap


def fill_rows(count: int, columns: int) -> list[Place]:
    """Return places in rows that are filled one after another."""
    return [(number // columns + 1, number % columns + 1) for number in range(count)]


def grid(count: int, columns: int = 0, titles: Sequence[str] = ()) -> Grid:
    """Return one panel alone, two to a row for 2 and 4, else three; or at most 3 `columns`.

    There are fewer to a row where the figure is narrow, or one of the titles would not fit.
    """
    if columns < 1:
        columns = count if count < 4 else 2 if count == 4 else 3
    most = min(columns, most_columns(LEFT + RIGHT, NARROWEST, 3))
    longest = max(map(len, titles), default=0)
    shapes = [Grid(fill_rows(count, n)) for n in range(most, 0, -1)]
    return next((shape for shape in shapes if longest <= shape.letters), shapes[0])


def most_columns(between: float, narrowest: float, most: int) -> int:
    """Return how many panels of a least width stand side by side, with distances between them."""
    fitting = int((style.page_width() - LEFT - RIGHT + between) / (narrowest + between))
    return max(1, min(fitting, most))


def square_grid(titles: Sequence[str], between: float = LEFT + RIGHT) -> Grid:
    """Return square panels: two to a row for 2 and 4, four for 7, 8 and more than 9, else three.

    There are fewer to a row, down to two, where a title would not fit.
    """
    count = len(titles)
    most = count if count < 4 else {4: 2, 5: 3, 6: 3, 9: 3}.get(count, 4)
    most = most_columns(between, NARROWEST_SQUARE, most)
    shapes = [Grid(fill_rows(count, n), between, square=True) for n in range(most, 0, -1)]
    longest = max(map(len, titles))
    return next((s for s in shapes if s.columns <= 2 or longest <= s.letters), shapes[-1])


def places_by_width(widths: Sequence[float], between: float = 26) -> list[Place]:
    """Return a place for each panel, in columns by the width of its cell (Figures 17 to 24).

    Widths rise to the right. Of more than `MOST_COLUMNS` different ones, or than there is space
    for, neighbours share a column, so that the longest column is as short as can be. Panels of a
    column keep their order.
    """
    most = most_columns(between, NARROWEST_SQUARE, MOST_COLUMNS)
    distinct = sorted(set(widths))
    counts = [widths.count(width) for width in distinct]
    # Of all ways to cut the widths into columns: the shortest longest column, then second longest.
    cuts = min(
        (
            [0, *inner, len(counts)]
            for inner in combinations(range(1, len(counts)), min(most, len(counts)) - 1)
        ),
        key=lambda ends: sorted((sum(counts[a:b]) for a, b in pairwise(ends)), reverse=True),
    )
    column_of = {
        width: column
        for column, (a, b) in enumerate(pairwise(cuts), start=1)
        for width in distinct[a:b]
    }
    columns = [column_of[width] for width in widths]
    return [(columns[: i + 1].count(column), column) for i, column in enumerate(columns)]


@dataclass(frozen=True)
class Panel:
    """One panel of a figure, which what is drawn on it is added to."""

    figure: go.Figure
    grid: Grid
    number: int  # in reading order, from 0

    @property
    def row(self) -> int:
        """Its row, from 1."""
        return self.grid.places[self.number][0]

    @property
    def column(self) -> int:
        """Its column, from 1."""
        return self.grid.places[self.number][1]

    @property
    def axes(self) -> dict[str, str]:
        """What annotations within a flat panel refer to, such as x2 and y2."""
        panel: Any = self.figure.get_subplot(self.row, self.column)
        names = (axis.plotly_name.replace("axis", "") for axis in (panel.xaxis, panel.yaxis))
        return dict(zip(("xref", "yref"), names, strict=True))

    @property
    def domain(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """The part of the page that a three-dimensional panel takes, along x and along y."""
        scene: Any = self.figure.get_subplot(self.row, self.column)
        return scene.domain.x, scene.domain.y

    def add(self, trace: str, **properties: Any) -> None:
        """Add a trace, such as a "scatter", without an entry in the legend."""
        add = getattr(self.figure, f"add_{trace}")
        add(**properties, row=self.row, col=self.column)

    def add_scatter(self, **properties: Any) -> None:
        """Add points or lines, without an entry in the legend unless `showlegend` is given."""
        self.add("scatter", **{"showlegend": False, **properties})

    def add_text(self, text: str, **properties: Any) -> None:
        """Add an annotation at axis coordinates, or at those of `xref` and `yref`."""
        self.figure.add_annotation(
            text=text, showarrow=False, **properties, row=self.row, col=self.column
        )

    def set_axes(
        self, x: dict[str, Any], y: dict[str, Any], titles: tuple[str, str], *, titled: bool = False
    ) -> None:
        """Set the properties of both axes, whose titles stand at the edges of the grid alone.

        With `titled`, the y axis has its title in any column.
        """
        place: dict[str, Any] = {"row": self.row, "col": self.column}
        lowest = (self.row + 1, self.column) not in self.grid.places
        below = titles[0] if lowest else ""
        left = titles[1] if titled or self.column == 1 else ""
        self.figure.update_xaxes(**x, title_text=below or None, **place)
        self.figure.update_yaxes(**y, title_text=left or None, **place)


def make_panels(
    shape: Grid,
    titles: Sequence[str],
    title: str,
    subtitle: str,
    note: str,
    legends: Sequence[int] = (1,),
) -> tuple[go.Figure, list[Panel]]:
    """Return an empty figure with its texts in place, and its panels, lettered (a), (b), ….

    All texts are plain. `legends` holds the number of lines of each legend, which are the layout's
    `legend`, `legend2`, …; the note stands below them.
    """
    width = style.page_width()
    figure = make_subplots(
        shape.rows,
        shape.columns,
        horizontal_spacing=shape.between / (width - LEFT - RIGHT),
        vertical_spacing=shape.gap / shape.height if shape.rows > 1 else 0,
        specs=[
            [{"type": "scene" if shape.scenes else "xy"} if (row, column) in shape.places else None
             for column in range(1, shape.columns + 1)]
            for row in range(1, shape.rows + 1)
        ],
    )  # fmt: skip
    panels = [Panel(figure, shape, number) for number in range(len(titles))]
    heading, under = style.wrap_title(title, 17), style.wrap_title(subtitle, 13)
    small = style.wrap_text(note, style.SMALL)
    above = 18 + 22 * len(heading) + 17 * len(under) + ABOVE
    below = BELOW + LEGEND * sum(legends)
    figure.update_layout(
        template=style.template(),
        meta=style.meta(title),
        width=width,
        height=above + shape.height + below + 16 * len(small) + 8,
        margin={
            "l": LEFT, "r": RIGHT, "t": above, "b": below + 16 * len(small) + 8,
            "autoexpand": False,
        },
    )  # fmt: skip
    for number in range(len(legends)):
        y = -(BELOW + LEGEND * sum(legends[:number])) / shape.height
        figure.update_layout(
            {
                f"legend{number + 1 if number else ''}": LEGEND_LAYOUT
                | {"x": (8 - LEFT) / (width - LEFT - RIGHT), "y": y, "yanchor": "top"}
            }
        )
    bold = [f"<b>{line}</b>" for line in heading]
    texts = [
        *_lines(bold, 17, above - 10, step=22, color=style.INK),
        *_lines(under, 13, above - 12 - 22 * len(heading), step=17),
        *_lines(small, style.SMALL, -below, step=16, y=0),
    ]
    for panel, name in zip(panels, titles, strict=True):
        letter = f"<b>({chr(ord('a') + panel.number % 26)})</b> " if len(panels) > 1 else ""
        text = letter + style.escape(style.shorten(name, shape.letters))
        texts.append({
            "text": text, "showarrow": False, "xanchor": "left", "yanchor": "bottom", "yshift": 3,
            **_upper_left(panel),
        })  # fmt: skip
    add_annotations(figure, texts)
    return figure, panels


def legend_lines(names: Collection[str]) -> int:
    """Return how many lines a legend of these names needs."""
    widths, available = [45 + style.LETTER * len(name) for name in names], style.page_width() - 16
    if sum(widths) <= available:
        return min(1, len(widths))
    # Names that need several lines stand in columns of one width.
    return math.ceil(len(widths) / max(1, int(available / max(widths))))


def add_annotations(figure: go.Figure, annotations: Iterable[dict[str, Any]]) -> None:
    """Add many annotations at once: added singly, each has plotly check all before it again."""
    figure.layout.annotations = (*figure.layout.annotations, *annotations)


def add_key(
    figure: go.Figure, name: str, marker: dict[str, Any], legend: str | None = None
) -> None:
    """Add a key to a legend that stands for no data."""
    figure.add_scatter(
        name=name, mode="markers", x=[None], y=[None], marker=marker, legend=legend,
        hoverinfo="skip",
    )  # fmt: skip


def _upper_left(panel: Panel) -> dict[str, Any]:
    if panel.grid.scenes:
        (left, _), (_, top) = panel.domain
        return {"x": left, "y": top, "xref": "paper", "yref": "paper"}
    return {"x": 0, "y": 1} | {name: f"{axis} domain" for name, axis in panel.axes.items()}


def _lines(
    texts: Sequence[str], size: float, top: float, *, step: int, color: str = style.GREY, y: int = 1
) -> list[dict[str, Any]]:
    """Return lines of text at the left edge, `top` pixels above height `y` of all panels."""
    return [
        {
            "text": text, "font": {"size": size, "color": color}, "showarrow": False,
            "x": 0, "xref": "paper", "xanchor": "left", "xshift": 8 - LEFT, "align": "left",
            "y": y, "yref": "paper", "yanchor": "top", "yshift": top - step * number,
        }
        for number, text in enumerate(texts)
    ]  # fmt: skip
