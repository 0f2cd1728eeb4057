"""How curves are told apart: colour by width or index, a dash besides, black for the base."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from plotly.colors import sample_colorscale

from orchestrator.figures import style
from orchestrator.figures.convergence_curves import Convergence, Curve

DASHES = ("solid", "7px,3px", "2px,2px", "9px,3px,2px,3px")

LIGHTEST = 0.74
"""How far along the colour scale the narrowest lies: yellow beyond it is lost on white."""

Cell = tuple[str, int, str]
"""Base, index and variant."""


class Look(NamedTuple):
    """Of one cell in all panels."""

    colour: str
    dash: str
    width: float


def looks(data: Convergence) -> dict[Cell, Look]:
    """The darker the wider, or the lower the index.

    By index where all variants are equally wide, and where a panel has more of one width than there
    are dashes to tell them apart.
    """
    cells: dict[Cell, Curve] = {
        (panel.base, curve.index, curve.variant): curve
        for panel in data.panels
        for curve in panel.curves
    }
    variants = {cell: curve for cell, curve in cells.items() if curve.index}
    widths = _rank(curve.width for curve in variants.values())
    indices = _rank(curve.index for curve in variants.values())
    alike = [
        count
        for panel in data.panels
        for count in Counter(curve.width for curve in panel.curves if curve.index).values()
    ]
    by_width = len(widths) > 1 and max(alike) <= len(DASHES)
    found: dict[Cell, Look] = {}
    for cell, curve in cells.items():
        if not curve.index:
            found[cell] = Look(style.INK, DASHES[0], 2.4)
            continue
        place, count = (
            (widths[curve.width], len(widths))
            if by_width
            else (len(indices) - 1 - indices[curve.index], len(indices))
        )
        share = LIGHTEST * (1 - place / max(count - 1, 1))
        (colour,) = sample_colorscale("Viridis", [share])
        found[cell] = Look(str(colour), DASHES[(curve.index - 1) % len(DASHES)], 1.6)
    return found


def _rank(values: Iterable[float]) -> dict[float, int]:
    return {value: rank for rank, value in enumerate(sorted(set(values)))}
