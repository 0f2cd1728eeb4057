"""The house style: one template, one width and one palette for every figure.

A figure is `PAGE_WIDTH` pixels wide. Printed over the 5.5 inch text of a page its 14 pixel
letters come out at 7.7 points.
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
"""Colours that the colour-blind tell apart (Okabe and Ito, "Color Universal Design", 2008)."""

BAD = "#B00020"
"""The colour of what went wrong."""


def template() -> go.layout.Template:
    """plotly's `simple_white` with our fonts, our palette and a light horizontal grid."""
    font = {"family": "Arial, Liberation Sans, sans-serif", "size": FONT_SIZE, "color": INK}
    words = {"standoff": 8, "font": {"size": FONT_SIZE}}
    axis = {"linecolor": INK, "tickfont": {"size": 13}, "title": words, "ticklen": 4}
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


def escape(text: object) -> str:
    """Text that plotly shows as it stands: it would take `<b>` or `<a href>` for markup."""
    return _escape_html(str(text), quote=False)


def escape_template(text: object) -> str:
    """Text as it stands within one of plotly's templates: no field of these, and no markup."""
    return escape(text).replace("%{", "%&#123;")


def shorten(name: str, letters: int) -> str:
    """The name, cut to so many letters at most. Escape it afterwards, not before."""
    return name if len(name) <= letters else name[: letters - 1] + "…"


def lines(text: str, size: float = FONT_SIZE, width: float = PAGE_WIDTH - 30) -> list[str]:
    """The text broken into lines that fit the width at this font size, each escaped."""
    letters = int(width / (LETTER * size / FONT_SIZE))
    return [escape(line) for line in wrap(text, letters)]
