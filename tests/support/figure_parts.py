"""What a figure shows, read from the figure itself."""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.figures import draw, read_choice

EVIL = "<img src=x onerror=\"document.title='taken'\">%{x}"
"""A name that would run in a page, and would be filled in by a hover template."""


def plot(kind: str, tables: Any, title: str = "A title", **options: Any) -> Any:
    """Return the figure of a kind from tables by name, or from the one that it takes."""
    table = tables.__getitem__ if isinstance(tables, dict) else lambda _: tables
    return draw(read_choice({"kind": kind, **options}), table, title)


def texts(figure: Any) -> list[str]:
    """Return all texts beside traces and axes."""
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


def titles(figure: Any) -> list[str]:
    """Return the titles of several panels without their letters."""
    return [text.split("</b> ", 1)[1] for text in texts(figure) if text.startswith("<b>(")]


def traces(figure: Any, **properties: Any) -> list[dict[str, Any]]:
    """Return the traces that have these properties."""
    found = [trace.to_plotly_json() for trace in figure.data]
    return [t for t in found if all(t.get(key) == value for key, value in properties.items())]


def hovers(figure: Any) -> list[str]:
    """Return what hovering shows: texts of points, and templates."""
    found: list[str] = []
    for trace in traces(figure):
        values = [trace.get(key) for key in ("hovertext", "text", "hovertemplate")]
        found += np.hstack([np.ravel(v) for v in values if v is not None] or [[]]).tolist()
    return [text for text in found if text]


def check_harmless(figure: Any, *, named: bool = True) -> None:
    """Assert that `EVIL` is neither markup nor a field of a template, and, if `named`, shown."""
    shown = [*texts(figure), *hovers(figure)]
    assert any("&lt;img" in text for text in hovers(figure)) or not named
    assert not any("<img" in text for text in shown)
    templates = [trace["hovertemplate"] for trace in traces(figure) if "hovertemplate" in trace]
    assert not any("&gt;%{" in template for template in templates)
