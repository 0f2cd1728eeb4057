"""Findings about the paper's claims, in the words of a report."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.paper.claims.claim import NO_DATA, VERDICTS, Finding


@dataclass(frozen=True)
class Line:
    """A finding to be read; its names are those of `Finding`."""

    claim: str
    statement: str
    source: str
    verdict: str
    effect: str
    p: str
    power: str
    cells: str
    reading: str


@dataclass(frozen=True)
class Claims:
    """The claims' main measures.

    Attributes:
        summary: How many have which verdict.
        tested: Those that there are data for.
        untested: The others.
    """

    summary: str
    tested: Sequence[Line]
    untested: Sequence[Line]


def told(found: Sequence[Finding]) -> Claims:
    """The findings' main measures in words; others are left to `nas-sweep claims`."""
    main = [one for one in found if one.primary]
    counts = [(sum(one.verdict == verdict for one in main), verdict) for verdict in VERDICTS]
    return Claims(
        summary=", ".join(f"{count} {verdict}" for count, verdict in counts if count) + ".",
        tested=[_line(one) for one in main if one.verdict != NO_DATA],
        untested=[_line(one) for one in main if one.verdict == NO_DATA],
    )


def _line(one: Finding) -> Line:
    p = one.p if math.isnan(one.p_holm) else one.p_holm
    return Line(
        claim=one.claim,
        statement=one.statement,
        source=one.source,
        verdict=one.verdict,
        effect=_effect(one),
        p="" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}",
        power="" if math.isnan(one.power) else f"{one.power:.0%}".replace("%", " %"),
        cells=str(one.cells or ""),
        reading=one.reading,
    )


def _effect(one: Finding) -> str:
    if math.isnan(one.size):
        return one.effect
    interval = "" if math.isnan(one.low) else f" ({one.low:.2g} to {one.high:.2g})"
    return f"{one.effect} {one.size:.2g}{interval}".replace("-", "−")
