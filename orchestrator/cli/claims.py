"""What `nas-sweep claims` does: test the paper's claims on a store and tell the findings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields

import click
from rich.console import Console

from orchestrator.housekeeping import lookup
from orchestrator.output.tables import (
    TextTable,
    print_table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)
from orchestrator.output.text import escape_control, one_line
from orchestrator.paper.claims.claim import FAILED, Finding
from orchestrator.paper.claims.registry import CLAIMS, find_claim, findings
from results_schema.results import Results
from results_schema.store import existing_store


def show_claims(experiments: Sequence[str], location: str, claim: str | None, form: str) -> int:
    """Prints what a store says about the claims.

    Args:
        experiments: Names, or files, of experiments in the store; all if none is named.
        location: The store's folder.
        claim: A claim's id; None for all.
        form: text, markdown, csv, latex or json.

    Returns:
        The exit code: 1 if a test ended in an unexpected error.

    Raises:
        ConfigError: An experiment or the claim is unknown.
        StoreError: There is no store, or it can't be read.
    """
    wanted = find_claim(claim).id if claim else None
    store = existing_store(location)
    names = lookup.find_experiments(store, experiments) if experiments else None
    # All claims are tested even if one is shown, since their p-values are corrected together.
    every = findings(Results(store), names)
    found = [one for one in every if wanted in (None, one.claim)]
    records = [one.record() for one in found]
    if form == "json":
        print(to_json(records))
    elif form == "csv":
        print(to_csv(records))
    else:
        _show(_sheet(found), form)
        if wanted:
            _show(_details(found), form)
    failed = [one for one in every if one.verdict == FAILED]
    for one in failed:
        click.echo(f"{one.claim} was not tested: {escape_control(one.reading)}", err=True)
    return 1 if failed else 0


def show_list(form: str) -> None:
    """Prints every claim with its source and statistic.

    Args:
        form: As for `show_claims`.
    """
    told = ("id", "statement", "source", "statistic", "needs")
    records = [{name: getattr(claim, name) for name in told} for claim in CLAIMS]
    if form == "json":
        print(to_json(records))
    elif form == "csv":
        print(to_csv(records))
    elif form == "text":
        console = Console(soft_wrap=True, highlight=False)
        for record in records:
            console.print(record["id"], style="bold", markup=False)
            console.print(f"  {record['statement']} ({record['source']})", markup=False)
            console.print(f"  {record['statistic']}", style="dim", markup=False)
    else:
        rows = [tuple(record.values()) for record in records]
        _show(TextTable("The paper's claims", told, rows, left=(1, 2, 3, 4)), form)


def _sheet(found: Sequence[Finding]) -> TextTable:
    rows = [
        (
            one.claim,
            one.verdict,
            one_line(one.data),
            one_line(one.measure) + ("" if one.primary else " *"),
            one_line(one.effect),
            _number(one.size),
            _interval(one),
            _p(one.p, one.exact),
            _p(one.p_holm, one.exact),
            _share(one.power),
            str(one.cells or ""),
            str(one.trials or ""),
            one_line(one.reading),
        )
        for one in found
    ]
    return TextTable(
        "The paper's claims in this store",
        (
            "claim", "verdict", "data", "measure", "effect", "size", "95 %", "p", "Holm", "power",
            "cells", "trials", "reading",
        ),
        rows,
        left=(1, 2, 3, 4, 12),
        remarks=(
            "p is one-sided: the chance of such a finding if the claim's effect were none; "
            "= is exact, the others are by random rearrangement or a distribution. "
            "Measures marked * are there to look at and not corrected.",
            "Readings name the datasets, with the weight of each where several are combined, and "
            "what differs from the paper's network and recipe. What was measured on a dataset that "
            "the claim is not about is not a test of it.",
            "Diverged trials rank last, and count as accuracy 0 where accuracies are averaged.",
        ),
    )  # fmt: skip


def _details(found: Sequence[Finding]) -> TextTable:
    rows = [
        (field.name, *(one_line(_value(one.record()[field.name])) for one in found))
        for field in fields(Finding)
    ]
    columns = ("", *(str(number) for number, _ in enumerate(found, start=1)))
    return TextTable("In full", columns, rows, left=range(1, len(columns)))


def _show(sheet: TextTable, form: str) -> None:
    if form in ("markdown", "latex"):
        print((to_markdown if form == "markdown" else to_latex)(sheet), end="\n\n")
        return
    print_table(sheet)


def _value(value: object) -> str:
    match value:
        case None:
            return "–"
        case float():
            return f"{value:.4g}"
        case list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _number(value: float) -> str:
    return f"{value:.3g}" if math.isfinite(value) else "–"


def _interval(one: Finding) -> str:
    if not (math.isfinite(one.low) or math.isfinite(one.high)):
        return "–"
    return f"{_number(one.low)} to {_number(one.high)}"


def _p(value: float, exact: bool) -> str:
    if not math.isfinite(value):
        return "–"
    return f"{'=' if exact else ''}{value:.4f}" if value >= 1e-4 else f"{value:.1e}"


def _share(value: float) -> str:
    return f"{value:.0%}" if math.isfinite(value) else "–"
