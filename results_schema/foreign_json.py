"""JSON that anyone may have written: parsed, or refused in one way, whatever it holds."""

from __future__ import annotations

import json
from typing import Any


def read(text: str | bytes) -> Any:
    """What the text says.

    Raises:
        ValueError: It is no JSON, no UTF-8, or nested deeper than Python's stack.
    """
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
