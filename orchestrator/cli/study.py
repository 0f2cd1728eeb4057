"""The commands that study the paper's statements: `claims` and `theory`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import FloatRange, IntRange, command, option

from orchestrator.cli.options import (
    announce,
    complete_claims,
    format_option,
    names_argument,
    open_store,
    print_result,
    report_damage,
    store_option,
)
from orchestrator.output.tables import TextTable
from orchestrator.output.text import escape_control, one_line
from results_schema.errors import ConfigError, suggest

if TYPE_CHECKING:
    from orchestrator.paper.claims.claim import Finding
    from orchestrator.paper.claims.power import Plan
    from orchestrator.paper.theorems import TrialBound
    from workers.theory.checks import Comparison, Settings

DRAWN = (
    "Theorem 4.1",
    "Theorem 4.2, as printed",
    "Theorem 4.2, corrected",
    "Theorem 4.3, matched weights",
    "Theorem 4.3, matched, |eigenvalue|",
    "Theorem 4.3, same W",
    "Theorem 4.1, trials",
)
"""Statements that have a panel of the figure."""


@command()
@store_option
@names_argument
@option(
    "--claim",
    metavar="ID",
    shell_complete=complete_claims,
    help="Show the findings of this claim in full.",
)
@option("--all", "every", is_flag=True, help="Show the claims without data too.")
@option("--list", "listed", is_flag=True, help="List the claims and their statistics.")
@option(
    "--power",
    type=FloatRange(0.5, 0.99),
    metavar="P",
    help="Show what would decide each inconclusive claim with this probability.",
)
@format_option("json", "csv", "md", "latex")
def claims(
    experiments: tuple[str, ...],
    store: str,
    claim: str | None,
    every: bool,
    listed: bool,
    power: float | None,
    output_format: str,
) -> None:
    """Test claims, the paper's and your own, on a store."""
    if listed:
        _print_claims(output_format)
        return
    from orchestrator.housekeeping.lookup import find_experiments
    from orchestrator.housekeeping.status import sound_results
    from orchestrator.paper.claims import description
    from orchestrator.paper.claims.claim import FAILED
    from orchestrator.paper.claims.power import plans
    from orchestrator.paper.claims.registry import findings

    announce("testing claims")
    opened = open_store(store)
    names = find_experiments(opened, experiments) if experiments else None
    # All claims are tested even if one is shown, since their p-values are corrected together.
    results, damage = sound_results(opened)
    tested = findings(results, names)
    known = dict.fromkeys(one.claim for one in tested)
    if claim and claim not in known:
        fix = suggest(claim, known, otherwise="run nas-sweep claims --all")
        raise ConfigError(f"there is no claim {claim!r}", fix=fix)
    found = [one for one in tested if claim in (None, one.claim)]
    if power:
        planned = plans(results, found, power)
        if output_format == "text":
            click.echo("\n".join(map(escape_control, description.plan_lines(planned, power))))
        else:
            records = [asdict(one) for one in planned]
            print_result(output_format, [_plans_table(planned, power)], records)
    elif output_format == "text":
        if not (claim or every):
            found = description.bears_on(found)
        show = description.page if claim else description.text
        click.echo("\n".join(map(escape_control, show(found))))
    else:
        records = [description.record(one) for one in found]
        print_result(output_format, [_findings_table(found)], records)
    failed = [one for one in tested if one.verdict == FAILED]
    for one in failed:
        click.echo(f"{one.claim} was not tested: {escape_control(one.reading)}", err=True)
    report_damage(damage)
    sys.exit(1 if failed else 0)


def _print_claims(output_format: str) -> None:
    from orchestrator.paper.claims.registry import CLAIMS

    records = [
        {
            "id": claim.id,
            "statement": claim.statement,
            "source": claim.source,
            "statistic": f"{claim.main.effect}; {claim.main.name}",
            "needs": claim.needs or "nothing",
        }
        for claim in CLAIMS
    ]
    if output_format != "text":
        rows = [tuple(record.values()) for record in records]
        table = TextTable("The paper's claims", tuple(records[0]), rows, left=(1, 2, 3, 4))
        print_result(output_format, [table], records)
        return
    for record in records:
        click.secho(record["id"], bold=True)
        click.echo(f"  {record['statement']} ({record['source']})")
        click.secho(f"  {record['statistic']}", dim=True)


def _plans_table(planned: Sequence[Plan], power: float) -> TextTable:
    rows = [
        (
            one.claim, one.effect, f"{one.level:.2g}", one.grows, str(one.has), str(one.needs),
            one.note or one.price, one.experiment, one_line(one.yaml),
        )
        for one in planned
    ]  # fmt: skip
    return TextTable(
        f"What decides the inconclusive claims in {100 * power:g} % of cases",
        ("claim", "effect", "p", "add", "now", "needed", "price", "experiment", "YAML"),
        rows,
        left=(1, 3, 6, 7, 8),
    )


def _findings_table(found: Sequence[Finding]) -> TextTable:
    from orchestrator.paper.claims import description

    rows = [
        (
            one.claim,
            one.verdict or "*",
            one_line(one.data),
            one_line(one.measure),
            one_line(one.effect),
            description.interval(one),
            description.p_value(one),
            str(one.cells or ""),
            str(one.trials or ""),
            one_line(one.reading),
        )
        for one in found
    ]
    return TextTable(
        "The paper's claims in this store",
        (
            "claim", "verdict", "data", "measure", "effect", "size [95 %]", "p", "cells", "trials",
            "reading",
        ),
        rows,
        left=(1, 2, 3, 4, 5, 9),
        remarks=(
            "p is two-sided, of main measures after Holm's correction over a family. Measures "
            "marked * are exploratory: no verdict, no correction.",
            "What was measured on a dataset that the claim is not about is no test of it.",
            "Diverged trials rank last, and count as accuracy 0 where accuracies are averaged.",
        ),
    )  # fmt: skip


@command()
@store_option
@names_argument
@option("--draws", type=IntRange(1), default=350, help="Random cells for each objective and gain.")
@option("--nodes", type=IntRange(1, 20), default=5, help="Nodes of a random cell.")
@option("--width", type=IntRange(1, 32), default=8, help="Width of a node of a random cell.")
@option("--batch", type=IntRange(2), default=256, help="Inputs of a random cell.")
@option("--seed", type=IntRange(0), default=0, help="Seed of all draws.")
@format_option("json", "csv", "md")
@option("--draw", metavar="FILE", help="Draw the bounds to a .html, .png, .svg or .pdf file.")
def theory(
    experiments: tuple[str, ...],
    store: str,
    output_format: str,
    draw: str | None,
    **sizes: Any,
) -> None:
    """Check the paper's equations and theorems numerically.

    With experiments, check Theorem 4.1 for each of their trials too. Exits with 1 if a statement
    that must hold is violated.
    """
    from workers.theory.checks import Settings, check_cells
    from workers.theory.sgd import check_sgd

    if draw:
        from orchestrator.figures.export import check_suffix

        check_suffix(Path(draw))  # before all the work
    announce("checking statements")
    settings = Settings(**sizes)
    trials = _trial_bounds(experiments, store) if experiments else []
    comparisons = [*check_sgd(settings.seed), *check_cells(settings)]
    _print_comparisons(comparisons, trials, settings, output_format)
    if draw:
        _draw_bounds([*comparisons, *_compare_trials(trials)], Path(draw))
        click.echo(f"drawn: {draw}", err=output_format != "text")
    sys.exit(any(one.holds and one.violated.any() for one in comparisons))


def _trial_bounds(experiments: Sequence[str], location: str) -> list[TrialBound]:
    from orchestrator.housekeeping.lookup import find_experiments
    from orchestrator.paper.theorems import trial_bounds
    from results_schema.results import Results

    store = open_store(location)
    results, names = Results(store), find_experiments(store, experiments)
    tables = (results.trials, results.surfaces, results.points, results.metrics)
    return [one for name in names for one in trial_bounds(*(table(name) for table in tables))]


def _print_comparisons(
    comparisons: Sequence[Comparison],
    trials: Sequence[TrialBound],
    settings: Settings,
    output_format: str,
) -> None:
    from orchestrator.paper import theorems
    from workers.theory.smoothness import counterexample

    title = (
        f"Statements on {settings.draws} cells for each objective and gain: n = {settings.nodes}, "
        f"d = {settings.width}, {settings.batch} inputs, "
        f"gains {', '.join(map(str, settings.gains))}, seed {settings.seed}"
    )
    example = counterexample()
    blocks = [one for one in comparisons if one.statement.startswith("Theorem 4.2")]
    tables = [theorems.statements_sheet(comparisons, title), theorems.blocks_sheet(blocks, example)]
    tables += [theorems.trials_sheet(trials)] if trials else []
    statements = [theorems.comparison_record(one) for one in comparisons]
    bounds = [one.record() for one in trials]
    data = {"statements": statements, "counterexample": example._asdict(), "trials": bounds}
    # CSV has one table a file: the trials' if there are any.
    print_result(output_format, tables, bounds or statements, data)


def _compare_trials(trials: Sequence[TrialBound]) -> list[Comparison]:
    """Return trials as comparisons of their own, by base; those that lack a number are left out."""
    import numpy as np

    from workers.theory.checks import Comparison

    bases: dict[str, list[TrialBound]] = {}
    for one in trials:
        if not one.lacking and np.isfinite(one.measured):
            bases.setdefault(one.base, []).append(one)
    return [
        Comparison(
            "Theorem 4.1, trials",
            base,
            False,
            np.array([one.measured for one in some]),
            np.array([one.bound for one in some]),
        )
        for base, some in bases.items()
    ]


def _draw_bounds(comparisons: Sequence[Comparison], path: Path) -> None:
    from orchestrator.figures.export import save_figure
    from orchestrator.paper.theorem_figures import bounds_data, plot_bounds

    drawn = bounds_data([one for one in comparisons if one.statement in DRAWN])
    save_figure(plot_bounds(drawn, "Bounds of the theory against what was computed"), path)


COMMANDS = (claims, theory)
