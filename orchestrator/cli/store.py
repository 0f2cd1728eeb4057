"""The commands that look after a store: parse and call, like `orchestrator.cli.main`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import click

INTERRUPTED = 130

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
@click.option("-f", "--follow", is_flag=True, help="Go on until it ends.")
def logs(name: str, store: str, follow: bool) -> None:
    """Print the log of the trial, or with an @ the surface, whose id begins so."""
    from orchestrator.housekeeping.logs import show_log

    with left_by_ctrl_c():
        show_log(name, store, follow=follow)


@click.command()
@store_option
@click.argument("names", nargs=-1, metavar="[EXPERIMENT|TRIAL|SURFACE]...")
@click.option("--diverged", is_flag=True, help="Put diverged trials of the experiments back too.")
@yes_option
def retry(names: tuple[str, ...], store: str, diverged: bool, yes: bool) -> None:
    """Forget failures; put diverged trials, or any named ones, back to be trained anew."""
    from orchestrator.housekeeping.retry import retry

    retry(names, store, diverged=diverged, yes=yes)


@click.command()
@store_option
@click.argument("names", nargs=-1, required=True, metavar="EXPERIMENT|TRIAL|SURFACE...")
def cancel(names: tuple[str, ...], store: str) -> None:
    """Stop trials within seconds, wherever they run; the next launch goes on."""
    from orchestrator.housekeeping.cancel import cancel

    cancel(list(names), store)


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
    from orchestrator.housekeeping.gc import collect

    collect(store, unnamed=unnamed, checkpoints=checkpoints, yes=yes)


@click.command()
@store_option
@click.argument("experiment")
@click.option("--to", required=True, metavar="FOLDER", help="Where to write; made if need be.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv", "numpy"]),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(experiment: str, store: str, to: str, form: str, force: bool) -> None:
    """Write an experiment's tables as single files, or its surfaces as NumPy arrays."""
    from orchestrator.housekeeping.export import export

    export(experiment, store, to, form=form, force=force)


@click.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(store: str, as_json: bool) -> None:
    """Check this machine and the store, and say how to mend what is wrong."""
    from orchestrator.execution.doctor import examine

    sys.exit(examine(store, as_json=as_json))


@contextlib.contextmanager
def left_by_ctrl_c() -> Iterator[None]:
    """For what is watched until one has seen enough: click would say that it was aborted."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


COMMANDS = (status, logs, cancel, retry, gc, export, doctor)
