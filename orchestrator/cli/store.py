"""The commands that look after a store: they parse, ask and print, like `orchestrator.cli.main`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.output.text import byte_size, escape_control, one_line

if TYPE_CHECKING:
    from results_schema.store import Store

INTERRUPTED = 130
_MOST_PATHS = 20
"""Paths of each kind that the preview of `gc` prints; of more, the number."""

store_option = click.option(
    "--store", default="results", show_default=True, help="Folder or s3:// of results."
)
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


@click.command()
@store_option
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, an object a line.")
@click.option("--watch", is_flag=True, help="Look again every two seconds until all has ended.")
@click.option("--failed", is_flag=True, help="List failed trials alone.")
@click.option("--diverged", is_flag=True, help="List diverged trials.")
def status(
    experiments: tuple[str, ...],
    store: str,
    as_json: bool,
    watch: bool,
    failed: bool,
    diverged: bool,
) -> None:
    """Show what is done, running, failed and owed, from the store alone."""
    from orchestrator.cli.status import show_status

    asked = {"failed": failed, "diverged": diverged}
    only = [state for state, wanted in asked.items() if wanted]
    with left_by_ctrl_c():
        show_status(experiments, store, as_json_lines=as_json, watch=watch, only=only)


@click.command()
@store_option
@click.argument("name", metavar="TRIAL|SURFACE")
@click.option("-f", "--follow", is_flag=True, help="Continue until it ends.")
def logs(name: str, store: str, follow: bool) -> None:
    """Print the log of the trial, or with an @ the surface, whose id begins so."""
    from orchestrator.housekeeping.logs import find_log, read_log

    opened = _open(store)
    with left_by_ctrl_c():
        item = find_log(opened, name, follow=follow)
        for text in read_log(opened, item, follow=follow):
            click.echo(escape_control(text), nl=False)


@click.command()
@store_option
@click.argument("names", nargs=-1, metavar="[EXPERIMENT|TRIAL|SURFACE]...")
@click.option("--diverged", is_flag=True, help="Put diverged trials of the experiments back too.")
@yes_option
def retry(names: tuple[str, ...], store: str, diverged: bool, yes: bool) -> None:
    """Forget failures; put diverged trials, or any named ones, back to be trained again."""
    from orchestrator.housekeeping.removal import plan_retry, put_back

    opened = _open(store)
    plan = plan_retry(opened, names, diverged=diverged)
    if not plan.failed and not plan.ended:
        click.echo("nothing to put back: no such trial has failed" + " or diverged" * diverged)
        return
    if plan.ended:
        for shown in plan.ended:
            click.echo(f"  {shown.item}")
        click.echo(
            f"{len(plan.ended)} ended trials lose their results: {len(plan.files)} files, "
            f"{byte_size(sum(stat.size for stat in plan.files))}. The same release on the same "
            "machine would find the same again."
        )
        if not yes:
            click.confirm("Remove them?", abort=True)
    put_back(opened, plan)
    if plan.failed:
        click.echo(f"{len(plan.failed)} failures forgotten; checkpoints stay")
    click.echo("the next launch trains them; one that runs now does not look again")


@click.command()
@store_option
@click.argument("names", nargs=-1, required=True, metavar="EXPERIMENT|TRIAL|SURFACE...")
def cancel(names: tuple[str, ...], store: str) -> None:
    """Stop trials within seconds, wherever they run; the next launch continues them."""
    from orchestrator.housekeeping.cancel import cancel

    cancelled = cancel(_open(store), names)
    for item, host in cancelled.hosts:
        click.echo(f"  {item} stops on {one_line(host)}")
    trials, surfaces = len(cancelled.trials), len(cancelled.surfaces)
    counts = [f"{trials} trials"] * bool(trials) + [f"{surfaces} surfaces"] * bool(surfaces)
    click.echo(f"{' and '.join(counts)} cancelled; the next launch continues them")


@click.command()
@store_option
@click.option("--unnamed", is_flag=True, help="Remove trials that no experiment names, too.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Remove all checkpoints of ended trials but the last, too.",
)
@yes_option
def gc(store: str, unnamed: bool, checkpoints: bool, yes: bool) -> None:
    """Remove what cut-off workers left behind, after a preview."""
    from orchestrator.housekeeping import gc

    opened = _open(store)
    found = gc.find_garbage(opened, unnamed=unnamed, checkpoints=checkpoints)
    if found.held:
        click.echo(f"{found.held} trials are held and left alone")
    if not found.garbage:
        click.echo("nothing to remove")
        return
    for kind, alike in found.by_kind().items():
        count, size = sum(one.count for one in alike), sum(one.size for one in alike)
        trials = len({one.item for one in alike} - {""})
        of_trials = f" of {trials} trials" if trials else ""
        click.echo(f"{kind}: {count} files{of_trials}, {byte_size(size)}")
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
        click.echo(f"{kept} trials were taken up meanwhile and left alone")


@click.command()
@store_option
@click.argument("experiment")
@click.option("--to", required=True, metavar="FOLDER", help="Where to write; made if need be.")
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["parquet", "csv", "numpy"]),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(experiment: str, store: str, to: str, file_format: str, force: bool) -> None:
    """Write an experiment's tables as single files, or its surfaces as NumPy arrays."""
    from orchestrator.housekeeping.export import export

    opened = _open(store)
    written = export(opened, experiment, Path(to), file_format=file_format, force=force)
    for path, rows in written.items():
        click.echo(f"{path}: {rows} rows")


@click.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(store: str, as_json: bool) -> None:
    """Check this machine and the store, and say how to mend what is wrong."""
    from orchestrator.execution.doctor import examine

    sys.exit(examine(store, as_json=as_json))


def _open(location: str) -> Store:
    from results_schema.store import existing_store  # slow to import: not for --help

    return existing_store(location)


@contextlib.contextmanager
def left_by_ctrl_c() -> Iterator[None]:
    """For what is watched until one has seen enough: click would say that it was aborted."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


COMMANDS = (status, logs, cancel, retry, gc, export, doctor)
