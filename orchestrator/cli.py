"""The command line: parse, call, print; nothing else.

Everything heavy is imported by the command that needs it, so that `--help` stays quick.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from results_schema.errors import ConfigError, NasSweepError

if TYPE_CHECKING:
    from orchestrator.experiment import Experiment

INTERRUPTED = 130


_store_option = click.option(
    "--store", default="results", show_default=True, help="Folder of results."
)

_yes_option = click.option("--yes", is_flag=True, help="Do not ask.")


def _experiment_options(command: Any) -> Any:
    for option in (
        _store_option,
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="PATH=VALUE",
            help="Override one value, such as recipe.epochs=2; may be repeated.",
        ),
        click.option("--profile", help="A named set of overrides, such as laptop."),
        click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT.yaml..."),
    ):
        command = option(command)
    return command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nas-sweep")
def cli() -> None:
    """Sweeps over cell-based neural architectures: train, measure, draw, test claims."""


@cli.command()
@_experiment_options
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option(
    "--spec", metavar="TRIAL", help="Print one trial's JSON, for python -m workers.train."
)
def plan(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    as_json: bool,
    spec: str | None,
) -> None:
    """Show what experiments owe, what is reused and how much there is to do."""
    from orchestrator.plan_view import show_plan

    loaded = _load(experiments, profile, overrides)
    show_plan(loaded, store, as_json=as_json, spec=spec)


@cli.command()
@_experiment_options
@click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Default: a GPU.")
@click.option(
    "--address", help="A Ray cluster to join: auto or HOST:PORT. Default: start Ray here."
)
@click.option(
    "--gpus-per-trial",
    type=click.FloatRange(0, min_open=True),
    default=1.0,
    show_default=True,
    help="Share of a GPU for each trial.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Least time between checkpoints.",
)
@click.option(
    "--checkpoint-at",
    type=click.IntRange(1),
    multiple=True,
    metavar="EPOCH",
    help="Keep this epoch's checkpoint for good; may be repeated.",
)
def launch(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    **options: Any,
) -> None:
    """Train what experiments owe, then print their results and draw their figures."""
    from orchestrator import commands

    loaded = _load(experiments, profile, overrides)
    sys.exit(commands.launch(loaded, store, **options))


@cli.command()
@click.argument("names", nargs=-1, metavar="[CELL|FILE]...")
@click.option(
    "--variants", metavar="SET", help="Connection variants: paper13, paper10, profile, …, or none."
)
@click.option("--operations", metavar="SET", help="Operation variants: paper10 or legacy.")
@click.option("--channels", type=int, help="Of a node at first; 36 if not said.")
@click.option("--cells", type=int, help="Of the network; 20 if not said.")
@click.option("--classes", type=click.IntRange(1), help="Of the data; 10 if not said.")
@click.option("--auxiliary", is_flag=True, help="Count the auxiliary head.")
@click.option("--draw", metavar="FILE", help="Draw to a .html, .png, .svg or .pdf file.")
@click.option("--reduction", is_flag=True, help="Draw reduction cells too.")
@click.option("--label", "labelled", is_flag=True, help="Draw operations on the edges.")
@click.option("--table", type=click.IntRange(1, 3), help="Compare a table of the paper.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["csv", "latex", "markdown", "json"]),
    help="Print in this form.",
)
def cells(names: tuple[str, ...], table: int | None, form: str | None, **options: Any) -> None:
    """Describe cells and their variants; without a name, list all cells."""
    from orchestrator.cells.show import show_cells, show_table

    if table is None:
        show_cells(names, form or "text", **options)
    elif names or any(options.values()):
        raise ConfigError("--table goes with a format alone", fix="drop the rest")
    else:
        show_table(table, form or "text")


@cli.command()
@_store_option
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
    from orchestrator.status_view import show_status

    asked = {"failed": failed, "diverged": diverged}
    only = [state for state, wanted in asked.items() if wanted]
    show_status(experiments, store, as_json_lines=as_json, watch=watch, only=only)


@cli.command()
@_store_option
@click.argument("trial")
@click.option("-f", "--follow", is_flag=True, help="Go on until the trial ends.")
def logs(trial: str, store: str, follow: bool) -> None:
    """Print the log of the trial whose id begins with TRIAL."""
    from orchestrator.logs import show_log

    show_log(trial, store, follow=follow)


@cli.command()
@_store_option
@click.argument("names", nargs=-1, metavar="[EXPERIMENT|TRIAL]...")
@click.option("--diverged", is_flag=True, help="Put diverged trials of the experiments back too.")
@_yes_option
def retry(names: tuple[str, ...], store: str, diverged: bool, yes: bool) -> None:
    """Forget failures; put diverged trials, or any named ones, back to be trained anew."""
    from orchestrator.retry import retry

    retry(names, store, diverged=diverged, yes=yes)


@cli.command()
@_store_option
@click.argument("names", nargs=-1, required=True, metavar="EXPERIMENT|TRIAL...")
def cancel(names: tuple[str, ...], store: str) -> None:
    """Stop trials after their epoch, wherever they run; the next launch goes on."""
    from orchestrator.cancel import cancel

    cancel(list(names), store)


@cli.command()
@_store_option
@click.option("--unnamed", is_flag=True, help="Remove trials that no experiment names, too.")
@click.option(
    "--checkpoints",
    is_flag=True,
    help="Remove all checkpoints of ended trials but the last, too.",
)
@_yes_option
def gc(store: str, unnamed: bool, checkpoints: bool, yes: bool) -> None:
    """Remove what cut-off workers left behind, after a preview."""
    from orchestrator.gc import collect

    collect(store, unnamed=unnamed, checkpoints=checkpoints, yes=yes)


@cli.command()
@_store_option
@click.argument("experiment")
@click.option("--to", required=True, metavar="FOLDER", help="Where to write; made if need be.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "csv"]),
    default="parquet",
    show_default=True,
    help="Of the files.",
)
@click.option("--force", is_flag=True, help="Replace files that are there.")
def export(experiment: str, store: str, to: str, form: str, force: bool) -> None:
    """Write an experiment's metrics, trials and members as single files."""
    from orchestrator.export import export

    export(experiment, store, to, form=form, force=force)


@cli.command()
@_store_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(store: str, as_json: bool) -> None:
    """Check this machine and the store, and say how to mend what is wrong."""
    from orchestrator.doctor import examine

    sys.exit(examine(store, as_json=as_json))


def main() -> None:
    """The console script. Errors of the user's are told in plain words, without a traceback."""
    try:
        cli(prog_name="nas-sweep")
    except NasSweepError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _load(
    paths: tuple[str, ...], profile: str | None, overrides: tuple[str, ...]
) -> list[Experiment]:
    from orchestrator.experiment import load_experiment

    loaded = [load_experiment(path, profile=profile, overrides=overrides) for path in paths]
    names = [experiment.name for experiment in loaded]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two experiments are called {sorted(twice)}", fix="rename one file")
    figures = [name for experiment in loaded for name in experiment.figures]
    if twice := {name for name in figures if figures.count(name) > 1}:
        raise ConfigError(f"two figures are called {sorted(twice)}", fix="rename one of them")
    return loaded


if __name__ == "__main__":
    main()
