"""The house style of figures: one template, widths, one palette, and text made safe to show.

A figure is laid out in pixels for the width that it is printed at, so that its ordinary letters,
`FONT_SIZE` pixels, then measure as many points as its `Look` asks for, and its smallest letters
10/14 of that.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from html import escape as _escape_html
from textwrap import wrap
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

POINTS = {"page": 514.3, "column": 252.0}
"""Printed width of the text, and of a column, of a paper in two columns, in points."""

PAGE_WIDTH = 720
"""Width of a figure over a page in pixels, with the default size of letters."""

LETTER = 7.0
"""Width of a letter at `FONT_SIZE`, in pixels: the mean of English text in Arial."""

FONT_SIZE = 14
SMALL = 12
INK = "#222222"
GREY = "#6b6b6b"

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
"""Colours that the colour-blind can distinguish (Okabe and Ito, "Color Universal Design", 2008)."""

BAD = "#B00020"
"""Colour of what went wrong."""


@dataclass(frozen=True)
class Look:
    """How figures are drawn: for which printed width, with what letters, with or without title."""

    size: str = "page"  # a key of `POINTS`
    font_size: float = 10.0  # of ordinary letters, in points at the printed width
    titled: bool = True

    @property
    def width(self) -> int:
        """Width in pixels."""
        return round(POINTS[self.size] / self.font_size * FONT_SIZE)


DEFAULT = Look()
_look = ContextVar("look", default=DEFAULT)


@contextmanager
def using(look: Look) -> Iterator[None]:
    """Draw figures with another look than the default."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def page_width() -> int:
    """Return the width of the figure that is being drawn, in pixels."""
    return _look.get().width


def meta(title: str) -> dict[str, Any]:
    """Return what `export` reads of a figure: its title, and its printed width in points."""
    return {"title": title, "points": POINTS[_look.get().size]}


def wrap_title(text: str, size: float) -> list[str]:
    """Return the escaped lines of a title or subtitle; none if the figure has no title."""
    return wrap_text(text, size) if _look.get().titled else []


def template() -> go.layout.Template:
    """Return plotly's `simple_white` with our fonts, our palette and a light horizontal grid."""
    font = {"family": "Arial, Liberation Sans, sans-serif", "size": FONT_SIZE, "color": INK}
    title = {"standoff": 8, "font": {"size": FONT_SIZE}}
    axis = {"linecolor": INK, "tickfont": {"size": 13}, "title": title, "ticklen": 4}
    house = go.layout.Template(
        layout={
            "font": font,
            "colorway": PALETTE,
            "hoverlabel": {"align": "left", "bgcolor": "white", "font": {**font, "size": 13}},
            "xaxis": axis,
            "yaxis": {**axis, "showgrid": True, "gridcolor": "#e9e9e9"},
        }
    )
    return pio.templates.merge_templates("simple_white", house)


def palette_colour(rank: int) -> str:
    """Return the palette's colour number `rank`, which may exceed its length."""
    return PALETTE[rank % len(PALETTE)]


def escape(text: object) -> str:
    """Return text that plotly shows literally, and does not take for markup such as `<b>`."""
    return _escape_html(str(text), quote=False)


def escape_template(text: object) -> str:
    """Return text that plotly shows literally within a hover template: neither field nor markup."""
    return escape(text).replace("%{", "%&#123;")


def shorten(name: str, letters: int) -> str:
    """Return the name, cut to at most so many letters. Escape it afterwards, not before."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def wrap_text(text: str, size: float) -> list[str]:
    """Return the text as escaped lines that fit the figure at a font size."""
    letters = int((page_width() - 30) / (LETTER * size / FONT_SIZE))
    return [escape(line) for line in wrap(text, letters)]
