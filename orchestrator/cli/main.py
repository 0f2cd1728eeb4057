"""The command line: parse, call, print; nothing else.

Everything heavy is imported by the command that needs it, so that `--help` stays quick.
"""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli import store as store_commands
from orchestrator.cli import study as study_commands
from orchestrator.output.text import escape_control
from results_schema.errors import ConfigError, NasSweepError

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment


class _Share(click.ParamType):
    """Part of a GPU or several whole ones, as Ray hands them out, or the word auto."""

    def __init__(self, *, auto: bool = False) -> None:
        self._auto = auto
        self.name = "float|auto" if auto else "float"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Return the number of GPUs, or "auto"."""
        if self._auto and value == "auto":
            return value
        share = click.FLOAT.convert(value, param, ctx)
        if not (0 < share <= 1 or (share > 1 and share.is_integer())):
            self.fail(
                f"{share:g} is neither a share of one GPU nor a number of whole ones: "
                "use a number above 0 and up to 1, or 2, 3, …",
                param,
                ctx,
            )
        return share


def _experiment_options(command: Any) -> Any:
    for option in (
        store_commands.store_option,
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="PATH=VALUE",
            help="Override one value, such as recipe.epochs=2; may be repeated.",
        ),
        click.option("--profile", help="A named set of overrides, such as laptop."),
        click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT.yaml|FOLDER..."),
    ):
        command = option(command)
    return command


def _cluster_options(command: Any) -> Any:
    for option in (
        click.option(
            "--gpus-per-surface",
            type=_Share(),
            default=1.0,
            show_default=True,
            help="Share of a GPU for each surface.",
        ),
        click.option(
            "--address", help="A Ray cluster to join: auto or HOST:PORT. Default: start Ray here."
        ),
        click.option(
            "--allow-open-cluster",
            is_flag=True,
            help="Join a cluster that asks for no token, on which anyone can run code.",
        ),
        click.option(
            "--ship-code",
            is_flag=True,
            help="Send this nas-sweep to the cluster's nodes, to run in place of theirs.",
        ),
        click.option("--device", type=click.Choice(["cuda", "cpu"]), help="Default: a GPU."),
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
    from orchestrator.cli.plan import show_plan

    loaded = _load(experiments, profile, overrides)
    show_plan(loaded, store, as_json=as_json, spec=spec)


@cli.command()
@_experiment_options
@_cluster_options
@click.option(
    "--gpus-per-trial",
    type=_Share(auto=True),
    default=1.0,
    show_default=True,
    help="Share of a GPU for each process. auto: one a GPU, with as many trials side by side as is "
    "measured to be best.",
)
@click.option(
    "--pack",
    type=click.IntRange(1),
    metavar="K",
    help="Train K trials side by side in each process. Default: 1, or what auto finds.",
)
@click.option(
    "--landscape",
    type=click.Choice(["first", "last", "none"]),
    default="first",
    show_default=True,
    help="Measure a surface once its checkpoint has landed, after all trials, or not.",
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
@click.option(
    "--deterministic", is_flag=True, help="Give the same bits again on a GPU too; slower."
)
@click.option(
    "--detach",
    "detached",
    is_flag=True,
    help="Leave it to the cluster at --address as a job, which goes on without this process.",
)
def launch(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    detached: bool,
    **options: Any,
) -> None:
    """Train and measure what experiments owe, print their results and draw their figures."""
    from orchestrator.cli import launch as commands

    loaded = _load(experiments, profile, overrides)
    if detached:
        from orchestrator.execution.detach import detach

        detach(loaded, click.get_current_context())
        return
    sys.exit(commands.launch(loaded, store, **options))


@cli.command()
@_experiment_options
@_cluster_options
@click.option(
    "--trials",
    multiple=True,
    metavar="TRIAL",
    help="Only surfaces of trials whose id begins so; may be repeated.",
)
def landscape(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    trials: tuple[str, ...],
    **options: Any,
) -> None:
    """Measure the surfaces that experiments owe of trials that have ended; train nothing."""
    from orchestrator.cli import launch as commands

    loaded = _load(experiments, profile, overrides)
    sys.exit(commands.measure(loaded, store, trials, **options))


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
    from orchestrator.cli.cells import show_cells, show_table

    if table is None:
        show_cells(names, form or "text", **options)
    elif names or any(options.values()):
        raise ConfigError("--table goes with a format alone", fix="drop the rest")
    else:
        show_table(table, form or "text")


for command in (*store_commands.COMMANDS, *study_commands.COMMANDS):
    cli.add_command(command)


def main() -> None:
    """The console script. Errors of the user's are told in plain words, without a traceback."""
    # Both end a command as Ctrl-C does, with its cleaning up; a launch that runs has its own way.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        cli(prog_name="nas-sweep")
    except NasSweepError as error:
        click.echo(f"error: {escape_control(str(error))}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(store_commands.INTERRUPTED)


def _load(
    paths: tuple[str, ...], profile: str | None, overrides: tuple[str, ...]
) -> list[Experiment]:
    from orchestrator.config.experiment import find_files, load_experiment

    files = find_files(paths)
    loaded = [load_experiment(path, profile=profile, overrides=overrides) for path in files]
    names = [experiment.name for experiment in loaded]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigError(f"two experiments are called {sorted(twice)}", fix="rename one file")
    for kind in ("figures", "tables"):
        every = [name for experiment in loaded for name in getattr(experiment, kind)]
        if twice := {name for name in every if every.count(name) > 1}:
            raise ConfigError(f"two {kind} are called {sorted(twice)}", fix="rename one of them")
    return loaded
