"""Keeps an unexpected error in one figure, table or claim from losing the others.

A `NasSweepError` describes what cannot be made and why, and its catcher reports that. Any other
exception is a fault in the code: its traceback goes to a log in the store, the rest is made, and
the command ends with exit code 1.
"""

from __future__ import annotations

import traceback
from datetime import UTC, datetime
from importlib.metadata import version

from orchestrator.output.text import one_line
from results_schema import layout
from results_schema.errors import NasSweepError
from results_schema.store import Store


def log_error(store: Store, name: str, error: Exception) -> str:
    """Write the traceback of an unexpected error into the store; return a line that reports it.

    A store that cannot be written to does not raise: then the line names the place in the code.

    Args:
        store: The store that keeps the log.
        name: What could not be made, such as "figure-fig9"; a later log of that name replaces this.
        error: The error as caught.
    """
    what = f"unexpected {type(error).__name__}: {one_line(str(error)) or 'no message'}"
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" in {frame.filename}:{frame.lineno}" for frame in last)
    head = f"nas-sweep {version('nas-sweep')}, {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC: {name}\n"
    key = layout.error_log(name)
    try:
        store.put(key, (head + "".join(traceback.format_exception(error))).encode())
    except NasSweepError:
        return what + place
    return f"{what}; traceback: {store.locate(key)}"
