"""What each panel of Figure 9 shows: which part of the plane, and one symbol to a result."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from orchestrator.figures.accuracy import Panel, Point
from orchestrator.figures.accuracy_words import hover_point, hover_run

STRIP = 42
"""Height of a strip for what lies beyond a panel's range, in pixels."""

NAME_ROOM = 8
"""What the margin of a panel's range lacks for a name above its topmost line, in pixels."""


class Mark(NamedTuple):
    """One symbol of a panel; `whisker` is half its length, NaN for none."""

    kind: str
    x: float
    y: float
    hover: str
    whisker: float = math.nan
    label: str = ""


class Frame(NamedTuple):
    """What one panel shows: index -0.6 to `last` + 0.6, `bottom` to `top` percent.

    From `low` to `high` a mark stands at its accuracy. What lies beyond stands in a grey strip
    along the border, from `bottom` to `low` or from `high` to `top`.
    """

    last: int
    bottom: float
    low: float
    high: float
    top: float
    x_pixels: float
    y_pixels: float


def frame_panel(panel: Panel, last: int, width: float, height: float) -> Frame:
    """The panel's range, room above it for the base's name, and strips where needed."""
    below, above = panel.has_below * STRIP, panel.has_above * STRIP
    room = 0 if above else NAME_ROOM
    y_pixels = (height - below - above - room) / (panel.high - panel.low)
    high = panel.high + room / y_pixels
    return Frame(
        last,
        bottom=panel.low - below / y_pixels,
        low=panel.low,
        high=high,
        top=high + above / y_pixels,
        x_pixels=width / (last + 1.2),
        y_pixels=y_pixels,
    )


def mark_point(point: Point, shift: float, frame: Frame) -> Iterator[Mark]:
    """The symbols of one cell at one learning rate."""
    x = point.index + shift
    if len(point.ended) > 1:
        for run in point.done:
            kind, y, _ = _edge(run.accuracy, "one seed", frame)
            yield Mark(kind, x, y, hover_run(point, run))
    if point.done:
        home = "base" if point.index == 0 else "variant"
        kind, y, label = _edge(point.mean, home, frame)
        whisker = point.deviation if kind == home else math.nan
        yield Mark(kind, x, y, hover_point(point), whisker, label)
    for run in point.diverged:
        _, y, label = _edge(run.accuracy, "diverged", frame)
        # Beside the cell's mean, which diverged trials may bring into the same strip.
        beside, label = (x + 0.3, "") if point.done else (x, label)
        yield Mark("diverged", beside, y, hover_run(point, run), label=label)


def _edge(accuracy: float, kind: str, frame: Frame) -> tuple[str, float, str]:
    """Kind, height and label of a mark: in a strip it is an arrow, or has one in its label."""
    if frame.low <= accuracy <= frame.high:
        return kind, accuracy, ""
    number = f"{accuracy:.0f}" if accuracy >= 0 else ""
    if accuracy > frame.high:
        label = f"↑<br>{number}" if kind == "diverged" else number
        return "above range", frame.top - 9 / frame.y_pixels, label
    label = f"{number}<br>↓" if kind == "diverged" else number
    return "below range", frame.bottom + 9 / frame.y_pixels, label
