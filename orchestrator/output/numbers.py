"""How numbers of a table are written."""

from __future__ import annotations

import math

NONE = "–"
"""Stands where there is no number."""


def fixed(value: float | None) -> str:
    """Two decimals, as the paper has them."""
    return NONE if value is None or math.isnan(value) else f"{value:.2f}".replace("-", "−")


def signed(value: float | None) -> str:
    """Two decimals and a sign; zero has none."""
    if value is None or math.isnan(value):
        return NONE
    text = f"{value:+.2f}".replace("-", "−")
    return "0.00" if text[1:] == "0.00" else text
