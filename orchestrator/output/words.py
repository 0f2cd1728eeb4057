"""Small things that several rooms say: lengths of time, cores, plain lines."""

from __future__ import annotations

import os
import re

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def span(seconds: float) -> str:
    """A length of time in words: `40 s`, `12 min`, `5.0 h`, `19 days`."""
    for unit, size in (("years", 365 * 86400), ("days", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            count = seconds / size
            return f"{count:.0f} {unit}" if unit == "min" or count >= 10 else f"{count:.1f} {unit}"
    return f"{seconds:.0f} s"


def plain(text: str) -> str:
    r"""Text whose control characters, but newline and tab, are written out, such as `\x1b`.

    A terminal would obey them; those that turn the direction of writing are among them.
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def one_line(text: str) -> str:
    """One line without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)
