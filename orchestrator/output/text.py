"""How numbers, lengths of time and text from elsewhere are written."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence

_BLOCKS = "▁▂▃▄▅▆▇█"
NO_NUMBER = "–"
"""Written where there is no number."""

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def fixed(value: float | None) -> str:
    """Return a number with two decimals, as the paper prints them."""
    if value is None or math.isnan(value):
        return NO_NUMBER
    return f"{value:.2f}".replace("-", "−")


def signed(value: float | None) -> str:
    """Return a number with two decimals and a sign, which zero does not get."""
    if value is None or math.isnan(value):
        return NO_NUMBER
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text


def raised(number: int) -> str:
    """Return a whole number in superscripts."""
    return str(number).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def value_text(value: object) -> str:
    """Return a value of an axis or a recipe; of a float at most six digits, such as `0.025`."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Return a length of time for people: `40 s`, `12 min`, `5.0 h`, `19 days`."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.0f} {unit}" if unit == "min" or count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s"


def counted(number: int, noun: str) -> str:
    """Return a number of things: `1 trial`, `2 trials`, `1,234 trials`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def sparkline(values: Sequence[float], width: int = 60) -> str:
    """Return the course of some values as blocks, `▁▃▇`, each the mean of as many as fit in one.

    What is not finite is drawn as `×`.
    """
    size = max(1, math.ceil(len(values) / width))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    means = [sum(group) / len(group) for group in groups]
    finite = [value for value in means if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    step = (high - low) / (len(_BLOCKS) - 1) or 1.0
    return "".join(
        _BLOCKS[round((value - low) / step)] if math.isfinite(value) else "×" for value in means
    )


def byte_size(count: int) -> str:
    """Return a number of bytes for people: `12 bytes`, `3.4 kB`, `1.2 GB`."""
    if count < 1000:
        return f"{count} bytes"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:
        value /= 1000
        del units[0]
    return f"{value:.1f} {units[0]}"


def escape_control(text: str) -> str:
    r"""Return the text with control characters written out, such as `\x1b`; newline and tab stay.

    A terminal would obey them; those that change the direction of writing are among them.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """Return the text on one line, with a blank for each character that cannot be printed."""
    return "".join(c if c.isprintable() else " " for c in text)


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
