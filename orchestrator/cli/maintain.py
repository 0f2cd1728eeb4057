"""The commands that change what a store keeps: `retry`, `cancel`, `gc` and `import`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
from click import Choice, argument, command, option

from orchestrator.cli.options import (
    complete_items,
    open_store,
    print_result,
    store_option,
    yes_option,
)
from orchestrator.output.text import byte_size, counted, one_line
from results_schema.errors import ConfigError

_MOST_PATHS = 20
"""Paths of each kind that the preview of `gc` prints; of more, the number."""


@command()
@store_option
@argument("names", nargs=-1, metavar="[EXPERIMENT|TRIAL|SURFACE]...", shell_complete=complete_items)
@option("--diverged", is_flag=True, help="Put diverged trials of the experiments back too.")
@yes_option
def retry(names: tuple[str, ...], store: str, diverged: bool, yes: bool) -> None:
    """Put failed, diverged or named trials back, to be run again.

    Failures are forgotten and checkpoints stay. Trials that have ended, diverged ones included,
    lose their results.
    """
    from orchestrator.housekeeping.removal import plan_retry, put_back

    opened = open_store(store)
    plan = plan_retry(opened, names, diverged=diverged)
    if not plan.failed and not plan.ended:
        click.echo("nothing to put back: no such trial has failed" + " or diverged" * diverged)
        return
    if plan.ended:
        for shown in plan.ended:
            click.echo(f"  {shown.item}")
        click.echo(
            f"{counted(len(plan.ended), 'ended trial')} to lose results: "
            f"{counted(len(plan.files), 'file')}, "
            f"{byte_size(sum(stat.size for stat in plan.files))}. The same release on the same "
            "machine would find the same again."
        )
        if not yes:
            click.confirm("Remove them?", abort=True)
    put_back(opened, plan)
    if plan.failed:
        click.echo(f"{counted(len(plan.failed), 'failure')} forgotten; checkpoints stay")
    click.echo("the next launch trains them; a launch that runs now does not")


@command()
@store_option
@argument(
    "names",
    nargs=-1,
    required=True,
    metavar="EXPERIMENT|TRIAL|SURFACE...",
    shell_complete=complete_items,
)
def cancel(names: tuple[str, ...], store: str) -> None:
    """Stop trials and surfaces within seconds, wherever they run.

    The next launch continues them.
    """
    from orchestrator.housekeeping.cancel import cancel
    from results_schema.layout import is_surface

    cancelled = cancel(open_store(store), names)
    for item, host in cancelled.items():
        if host:
            click.echo(f"  {item} stops on {one_line(host)}")
    surfaces = sum(map(is_surface, cancelled))
    trials = len(cancelled) - surfaces
    counts = [counted(trials, "trial")] * bool(trials)
    counts += [counted(surfaces, "surface")] * bool(surfaces)
    click.echo(f"{' and '.join(counts)} cancelled; the next launch continues what was cancelled")


@command()
@store_option
@option(
    "--unnamed",
    is_flag=True,
    help="Remove trials, surfaces and data sets that no experiment names, too.",
)
@option(
    "--checkpoints", is_flag=True, help="Remove all checkpoints of ended trials but the last, too."
)
@yes_option
def gc(store: str, unnamed: bool, checkpoints: bool, yes: bool) -> None:
    """Remove what stopped workers left behind, after a preview."""
    from orchestrator.housekeeping import gc
    from results_schema.layout import is_id

    opened = open_store(store)
    found = gc.find_garbage(opened, unnamed=unnamed, checkpoints=checkpoints)
    if found.held:
        click.echo(f"left alone, as a worker has it: {counted(found.held, 'trial')}")
    if not found.garbage:
        click.echo("nothing to remove")
        return
    for kind, alike in found.by_kind().items():
        count, size = sum(one.count for one in alike), sum(one.size for one in alike)
        trials = len({one.item for one in alike if is_id(one.item)})
        of_trials = f" of {counted(trials, 'trial')}" if trials else ""
        click.echo(f"{kind}: {counted(count, 'file')}{of_trials}, {byte_size(size)}")
        if alike[0].whole:
            lines = [one.item for one in alike]  # each by its id: its results are lost
        else:
            lines = [path for one in alike for path in one.paths(opened)]
            if more := len(lines[_MOST_PATHS:]):
                lines[_MOST_PATHS:] = [f"… and {more} more"]
        for line in lines:
            click.echo(f"  {one_line(line)}")
    if not yes:
        click.confirm("Remove all of this?", abort=True)
    size, kept = gc.collect(opened, found)
    click.echo(f"removed {byte_size(size)}")
    if kept:
        click.echo(f"left alone, as a worker took it meanwhile: {counted(kept, 'item')}")


@command(name="import")
@store_option
@option("--experiment", required=True, metavar="NAME", help="Experiment to show the results as.")
@option(
    "--cells", required=True, metavar="FILE", help="Genotypes, or a table with width and depth."
)
@option(
    "--curves",
    required=True,
    multiple=True,
    metavar="[MEASURE=]FILE",
    help="Curves: .npy, .csv or .parquet, with the measure of arrays and wide tables; repeatable.",
)
@option("--unit", type=Choice(["share", "percent"]), help="Unit of accuracies.")
@option("--first-epoch", type=click.IntRange(0, 1), help="Number that the first trained epoch has.")
@option("--dataset", metavar="NAME", help="Dataset, unless a column names it.")
@option("--learning-rate", type=float, help="Learning rate, unless a column names it.")
@option("--base", metavar="CELL", help="Cell that the others are variants of.")
@option("--no-base", is_flag=True, help="The cells are not variants of one of them.")
@option("--target", type=float, help="Accuracy, as a share, in place of a base's last one.")
@option("--yes", is_flag=True, help="Write without asking for confirmation.")
def import_results(
    store: str, cells: str, curves: tuple[str, ...], yes: bool, **answers: Any
) -> None:
    """Import other people's cells and curves, after a preview.

    docs/import.md describes the files.
    """
    from orchestrator.housekeeping import importing
    from results_schema.store import open_store as make_store

    pairs = [one.partition("=") if "=" in one else ("", "", one) for one in curves]
    files = [(measure or None, Path(path)) for measure, _, path in pairs]
    found = importing.read(Path(cells), files, importing.Answers(**answers))
    print_result("text", importing.describe(found), ())
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nothing was written", fix="look at the tables, then add --yes")
        click.confirm("Write these results?", abort=True)
    place = make_store(store)
    trials = importing.write(found, place)
    click.echo(
        f"{counted(trials, 'trial')} written to {place.location} as {found.answers.experiment}"
    )


COMMANDS = (retry, cancel, gc, import_results)
