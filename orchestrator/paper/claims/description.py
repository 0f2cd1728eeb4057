"""How findings read: one description for the terminal, the report, the live page and JSON."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby, zip_longest
from typing import Any, NamedTuple

from orchestrator.output.text import counted, one_line
from orchestrator.paper.claims.claim import (
    FAILED,
    INCONCLUSIVE,
    NO_DATA,
    NO_EFFECT,
    VERDICTS,
    Finding,
)
from orchestrator.paper.claims.power import Plan
from workers.cells.bases import BASES

WIDTH = 110
"""Columns of a line of text."""

_BAR, _INDENT, _COLUMN = 15, 10, 19
_SIGNED = ("correlation", "points")


class Entry(NamedTuple):
    """A claim's main finding on some data, and its exploratory ones on the same."""

    main: Finding
    others: tuple[Finding, ...]

    @property
    def agreement(self) -> str:
        """How many of the others are on the main finding's side of no effect; may be empty."""
        if not self.others or math.isnan(self.main.size):
            return ""
        same = sum(one.agrees == self.main.agrees for one in self.others)
        plural = "s point" if len(self.others) > 1 else " points"
        return f"{same} of {len(self.others)} other measure{plural} the same way"


def entries(found: Sequence[Finding]) -> list[Entry]:
    """Return findings by claim and data, those of one family side by side."""

    def key(one: Finding) -> tuple[str, str, str]:
        return one.claim, one.data, one.departures

    others: dict[tuple[str, str, str], list[Finding]] = {}
    families: dict[tuple[str, bool], list[Finding]] = {}
    for one in found:
        if one.primary:
            families.setdefault((one.family, one.substitute), []).append(one)
        else:
            others.setdefault(key(one), []).append(one)
    mains = [one for family in families.values() for one in family]
    return [Entry(one, tuple(others.get(key(one), ()))) for one in mains]


def bears_on(found: Sequence[Finding], *, untested: bool = False) -> list[Finding]:
    """Return the findings that bear on a store's data.

    Claims that experiments state bear on them, with and without data. Where there are some, the
    paper's do if their trials are of the data sets that the paper names; elsewhere all that have
    data do, and with any of the paper's cells also those on published cells, and the `untested`.
    """
    stated = any(one.stated for one in found)
    bases = {group.split()[0] for one in found if one.trials for group in one.groups}
    paper = not stated and (not bases or bool(bases & set(BASES)))

    def bears(one: Finding) -> bool:
        if one.stated or one.verdict == FAILED:
            return True
        if one.verdict == NO_DATA:
            return paper and untested
        return not (stated and one.substitute) if one.trials else paper

    return [one for one in found if bears(one)]


def headline(found: Sequence[Finding]) -> str:
    """Return how many claims about trials have data, and what became of them."""
    main = [one for one in found if one.primary and one.paper_datasets]
    tested = [one for one in main if one.verdict != NO_DATA]
    counts = [(sum(one.verdict == verdict for one in tested), verdict) for verdict in VERDICTS]
    listed = ", ".join(f"{count} {verdict}" for count, verdict in counts if count)
    claims, of = (len({one.claim for one in some}) for some in (tested, main))
    return f"{claims} of {of} claims about trials have data" + (f": {listed}." if listed else ".")


def number(one: Finding, value: float) -> str:
    """Return an effect of a finding's scale as text."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if one.scale in _SIGNED:
        return f"{value:+.2f}".replace("-", "−")
    return f"{value:.3g}" if one.scale != "share" else f"{value:.2f}"


def interval(one: Finding) -> str:
    """Return an effect with its interval, such as "+0.49 [+0.23, +0.69]"; may be empty."""
    if math.isnan(one.size):
        return ""
    size, low, high = (number(one, value) for value in (one.size, one.low, one.high))
    return size if math.isnan(one.low) else f"{size} [{low}, {high}]"


def p_value(one: Finding) -> str:
    """Return the p-value, after correction for a main measure, as "p = .012"; may be empty."""
    p = one.p if math.isnan(one.p_holm) else one.p_holm
    if math.isnan(p):
        return ""
    return "p < .001" if p < 0.001 else f"p = {p:.{2 if p >= 0.1 else 3}f}".replace("0.", ".")


def summary(one: Finding) -> str:
    """Return the effect, its interval, p and the number of cells in a line."""
    cells = counted(one.cells, "cell") if one.cells else ""
    effect = " ".join(filter(None, [interval(one), p_value(one)]))
    smallest = ""
    if one.verdict == NO_EFFECT:
        smallest = f"smallest effect of interest: {number(one, one.smallest)}"
    elif one.verdict == INCONCLUSIVE and math.isfinite(one.detectable):
        smallest = f"such studies find {number(one, one.detectable)} in 80 % of cases"
    return ", ".join(filter(None, [effect, cells])) + (f"; {smallest}" if smallest else "")


def where(one: Finding) -> str:
    """Return the data and what differs from the paper's training; empty if it is about no trial."""
    return f"on {one.data}" + (f" with {one.departures}" * bool(one.departures)) if one.data else ""


def lines(entry: Entry) -> list[str]:
    """Return what is said of an entry below its numbers."""
    main = entry.main
    hint = f" (--claim {main.claim} lists them)"
    said = [
        "; ".join(filter(None, [main.effect, main.measure])),
        where(main),
        entry.agreement + hint * bool(entry.agreement),
        main.reading,
    ]
    return [one_line(line) for line in said if line]


def record(one: Finding) -> dict[str, Any]:
    """Return a finding as plain data, with its summary."""
    return one.record() | {"summary": summary(one)}


def position(one: Finding, value: float) -> float:
    """Return where a value lies on the axis of a finding, 0 to 1."""
    if one.scale == "correlation":
        place = (value + 1) / 2
    elif one.scale == "share":
        place = value
    elif one.scale in ("odds", "ratio"):
        ends = [abs(math.log(v)) for v in (one.low, one.high, one.size) if 0 < v < math.inf]
        reach = max([math.log(10 if one.scale == "odds" else 2), *ends])
        log = math.log(value) if 0 < value < math.inf else math.copysign(math.inf, value - 1)
        place = (1 + max(-1.0, min(1.0, log / reach))) / 2
    else:
        finite = [abs(v - one.null) for v in (one.low, one.high, one.size) if math.isfinite(v)]
        place = (1 + (value - one.null) / (max(finite, default=1.0) or 1.0)) / 2
    return max(0.0, min(1.0, place))


def positions(one: Finding) -> tuple[float, ...]:
    """Return where the ends of the interval, the effect and no effect lie on the axis."""
    return tuple(position(one, value) for value in (one.low, one.high, one.size, one.null))


def bar(one: Finding) -> str:
    """Return a drawing of an effect and its interval, with `│` at no effect."""
    if any(math.isnan(value) for value in (one.size, one.low, one.null)):
        return " " * _BAR
    low, high, size, null = (round((_BAR - 1) * place) for place in positions(one))
    cells = ["─" if low <= place <= high else " " for place in range(_BAR)]
    cells[null] = "┼" if low <= null <= high else "│"
    cells[size] = "●"
    return "".join(cells)


def text(found: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of a page of findings, by family."""
    if not found:
        yield (
            "No claim bears on these experiments; state one in an experiment's file, such as "
            "claims: {wider-is-better: {spearman: [width, test_accuracy]}}"
        )
        return
    yield headline(found)
    yield (
        "One entry each: main measure, 95 % interval without correction, p after Holm over the "
        "family. │ is no effect."
    )
    for (family, substitute), group in groupby(
        entries(found), lambda entry: (entry.main.family, entry.main.substitute)
    ):
        listed = list(group)
        together = sum(not math.isnan(entry.main.p_holm) for entry in listed)
        note = f" ({counted(together, 'claim')} corrected together)" if together else ""
        yield ""
        yield family + (" (on substitute datasets: no verdicts)" if substitute else note)
        for entry in listed:
            yield from _entry_lines(entry)


def plan_lines(planned: Sequence[Plan], power: float) -> Iterator[str]:
    """Yield what would decide each inconclusive claim."""
    if not planned:
        yield "No claim is inconclusive."
        return
    yield (
        f"What finds the smallest effect of interest in {100 * power:g} % of cases, at the level "
        "that Holm's correction leaves:"
    )
    for plan in planned:
        yield ""
        yield f"  {plan.claim}"
        rest = plan.note or f"{plan.needs} {plan.grows} ({plan.has} now): {plan.price}"
        yield from _hanging("    ", f"{plan.effect}; two-sided p < {plan.level:.2g}")
        yield from _hanging("    ", rest)
        if plan.yaml:
            yield f"    add to {plan.experiment}, launched with --name more:"
            yield from (f"      {line}" for line in plan.yaml.splitlines())


def _entry_lines(entry: Entry) -> Iterator[str]:
    main = entry.main
    left = textwrap.wrap(main.verdict.upper(), _COLUMN - 3)
    statement = f"{one_line(main.statement)}  [{main.claim}]"
    right = textwrap.wrap(statement, WIDTH - _COLUMN, break_on_hyphens=False)
    if numbers := summary(main):
        right += _hanging(f"{bar(main)}  ", numbers, WIDTH - _COLUMN)
    for verdict, said in zip_longest(left, right, fillvalue=""):
        yield f"  {verdict:{_COLUMN - 2}}{said}".rstrip()
    for line in lines(entry):
        yield from _hanging(" " * _INDENT, line)


def page(found: Sequence[Finding]) -> Iterator[str]:
    """Yield the lines of one claim in full: each main finding with all its measures."""
    for entry in entries(found):
        main = entry.main
        yield f"{one_line(main.statement)}  [{main.claim}]"
        facts = {
            "source": main.source,
            "verdict": main.verdict,
            "measure": main.measure,
            "effect": main.effect,
            "size": interval(main) and f"{interval(main)}, 95 % interval without correction",
            "no effect": "" if math.isnan(main.size) else number(main, main.null),
            "of interest": "" if math.isnan(main.smallest) else number(main, main.smallest),
            "p": "" if math.isnan(main.p) else _p_line(main),
            "detectable": f"{number(main, main.detectable)} is found in 80 % of such studies"
            * math.isfinite(main.detectable),
            "cells": str(main.cells or ""),
            "trials": f"{main.trials}, {main.diverged} diverged" if main.trials else "",
            "data": where(main),
            "groups": ", ".join(main.groups),
            "reading": main.reading,
        }
        for name, value in facts.items():
            if value:
                yield from _hanging(f"  {name:12}", one_line(value))
        if entry.others:
            yield "  other measures, exploratory: no verdict, p without correction"
            for one in entry.others:
                yield f"    {bar(one)}  {summary(one)}"
                yield f"    {'':{_BAR}}  {one_line(f'{one.effect}; {one.measure}')}"
        yield ""


def _p_line(one: Finding) -> str:
    kind = "two-sided, exact" if one.exact else "two-sided"
    holm = "" if math.isnan(one.p_holm) else f", {one.p_holm:.2g} after Holm in {one.family}"
    return f"{one.p:.2g} ({kind}){holm}"


def _hanging(start: str, rest: str, width: int = WIDTH) -> list[str]:
    indent = " " * len(start)
    return textwrap.wrap(
        rest, width, initial_indent=start, subsequent_indent=indent, break_on_hyphens=False
    )
