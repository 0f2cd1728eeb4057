"""The house style of figures: one template, one width, one palette, and text made safe to show.

A figure is `PAGE_WIDTH` pixels wide. Printed over the 5.5 inch text of a page, its 14 pixel
letters measure 7.7 points.
"""

from __future__ import annotations

from html import escape as _escape_html
from textwrap import wrap

import plotly.graph_objects as go
import plotly.io as pio

PAGE_WIDTH = 720
"""Width of every figure, in pixels."""

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


def wrap_text(text: str, size: float = FONT_SIZE, width: float = PAGE_WIDTH - 30) -> list[str]:
    """Return the text as escaped lines that fit a width in pixels at a font size."""
    return [escape(line) for line in wrap(text, int(width / (LETTER * size / FONT_SIZE)))]
