"""What several commands share: options, the formats they print in, interruption."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click import FLOAT, Choice, IntRange, ParamType, argument, option
from click.shell_completion import CompletionItem

from orchestrator.output import tables as output
from results_schema.errors import exit_code

if TYPE_CHECKING:
    from results_schema.store import Store

Decorator = Callable[[Any], Any]


class GpuShare(ParamType):
    """Part of a GPU or several whole ones, as Ray assigns them, or the word auto."""

    def __init__(self, *, auto: bool = False) -> None:
        self._auto = auto
        self.name = "float|auto" if auto else "float"

    def convert(self, value: Any, param: Any, ctx: Any) -> float | str:
        """Return the number of GPUs, or "auto"."""
        if self._auto and value == "auto":
            return value
        share = FLOAT.convert(value, param, ctx)
        if not (0 < share <= 1 or (share > 1 and share.is_integer())):
            fix = "use a number above 0 and up to 1, or 2, 3, …"
            what = f"{share:g} is neither a share of one GPU nor a number of whole ones"
            self.fail(f"{what}: {fix}", param, ctx)
        return share


def format_option(*formats: str) -> Decorator:
    """Return the option `--format` with `text`, the default, and other formats."""
    kinds = Choice(["text", *formats])
    return option(
        "--format", "output_format", type=kinds, default="text", help="Format of the output."
    )


def _together(*decorators: Decorator) -> Decorator:
    def decorate(command: Any) -> Any:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _completing(names: Callable[[dict[str, Any]], Iterable[str]]) -> Callable[..., list[str]]:
    """Return a function for a shell's completion, from one that lists all names.

    That one gets the command's parameters; where it fails, nothing is completed.
    """

    def complete(context: click.Context, parameter: object, begun: str) -> list[str]:
        with contextlib.suppress(Exception):
            return [name for name in names(context.params) if name.startswith(begun)]
        return []

    return complete


def _stored(parameters: dict[str, Any]) -> Store:
    return open_store(parameters.get("store") or os.environ.get("NAS_SWEEP_STORE", "results"))


def _experiments(parameters: dict[str, Any]) -> list[str]:
    from orchestrator.housekeeping import lookup

    return lookup.experiments(_stored(parameters))


def _trials(parameters: dict[str, Any]) -> list[str]:
    from orchestrator.housekeeping import lookup

    store = _stored(parameters)
    known = lookup.experiments(store)
    named = [name for one in known for name, _ in lookup.member_names(store, one)]
    return [*named, *sorted(lookup.trials(store))]


def _profiles(parameters: dict[str, Any]) -> list[str]:
    from orchestrator.config.experiment import find_files, list_profiles

    named = parameters.get("experiments")
    return sorted(list_profiles(find_files(named)[0] if named else Path("here.yaml")))


def _claims(parameters: dict[str, Any]) -> list[str]:
    from orchestrator.paper.claims.registry import CLAIMS

    return [claim.id for claim in CLAIMS]


complete_experiments, complete_trials = _completing(_experiments), _completing(_trials)
complete_profiles, complete_claims = _completing(_profiles), _completing(_claims)
complete_items = _completing(lambda parameters: _experiments(parameters) + _trials(parameters))

store_option = option(
    "--store",
    default="results",
    envvar="NAS_SWEEP_STORE",
    metavar="PLACE",
    help="Store of results: a folder or s3://BUCKET/PREFIX; NAS_SWEEP_STORE, if set.",
)
subset_options = _together(
    option(
        "--only",
        multiple=True,
        metavar="PATTERN",
        help="Run only trials whose id or name, such as fig9/DARTS/C3, fits; repeatable.",
    ),
    option("--limit", type=IntRange(1), metavar="N", help="Run at most N trials."),
)
"""What restricts the work of a plan; members stay all of the experiments'."""
replace_option = option(
    "--replace", is_flag=True, help="Drop all other members of the experiment, without asking."
)
yes_option = option("--yes", is_flag=True, help="Remove without asking for confirmation.")
names_argument = argument(
    "experiments", nargs=-1, metavar="[EXPERIMENT]...", shell_complete=complete_experiments
)

file_options = _together(
    argument(
        "experiments",
        nargs=-1,
        required=True,
        metavar="EXPERIMENT.yaml|FOLDER|NAME...",
        shell_complete=lambda *_: [CompletionItem("", type="file")],
    ),
    option(
        "--profile",
        metavar="NAME",
        shell_complete=complete_profiles,
        help="Named set of overrides to apply, such as laptop.",
    ),
    option(
        "--set",
        "overrides",
        multiple=True,
        metavar="PATH=VALUE",
        help="Override one value of the experiments, such as recipe.epochs=2; repeatable.",
    ),
    option("--name", metavar="NAME", help="Name of this variation: kept as EXPERIMENT@NAME."),
    store_option,
)


def experiment_options(command: Any) -> Any:
    """Add the options that name experiments' files, what changes them, and a store.

    The command gets the experiments as they are after all changes.
    """

    @wraps(command)
    def loaded(
        experiments: tuple[str, ...],
        profile: str | None,
        overrides: tuple[str, ...],
        name: str | None,
        **options: Any,
    ) -> Any:
        from orchestrator.config.experiment import load_experiments

        return command(load_experiments(experiments, profile, overrides, name), **options)

    return file_options(loaded)


cluster_options = _together(
    option("--device", type=Choice(["cuda", "cpu"]), help="Device to compute on. Default: a GPU."),
    option(
        "--ship-code",
        is_flag=True,
        help="Send this nas-sweep to the cluster's nodes, to run in place of theirs.",
    ),
    option(
        "--allow-open-cluster",
        is_flag=True,
        help="Join a cluster that asks for no token, on which anyone can run code.",
    ),
    option(
        "--address",
        metavar="auto|HOST:PORT",
        help="Ray cluster to join. Default: start Ray on this machine.",
    ),
    option(
        "--gpus-per-surface", type=GpuShare(), default=1.0, help="Share of a GPU for each surface."
    ),
)
"""GPUs and a Ray cluster."""


def open_store(location: str) -> Store:
    """Return a store that exists.

    Raises:
        StoreError: The store does not exist.
    """
    from results_schema.store import existing_store  # slow to import: not for --help

    return existing_store(location)


def announce(what: str) -> None:
    """Print what takes some seconds now, for whoever waits at a terminal."""
    if sys.stderr.isatty():
        click.secho(f"{what} …", dim=True, err=True)


def report_damage(lines: Sequence[str]) -> None:
    """Print what damage left out on standard error, and exit with 1 if there is any."""
    for line in lines:
        click.secho(line, fg="red", err=True)
    if lines:
        sys.exit(1)


def print_result(
    output_format: str,
    tables: Sequence[output.TextTable],
    records: Sequence[Mapping[str, Any]],
    data: Any = None,
) -> None:
    """Print a result in one of the formats that `format_option` offers.

    Args:
        output_format: text, md or latex print the tables; csv the records; json the data.
        tables: The result laid out to be read.
        records: The result as plain data, for CSV.
        data: The result as plain data, for JSON; the records by default.
    """
    match output_format:
        case "json":
            print(output.to_json(records if data is None else data))
        case "csv":
            print(output.to_csv(records))
        case "md":
            print("\n\n".join(map(output.to_markdown, tables)))
        case "latex":
            print("\n\n".join(map(output.to_latex, tables)))
        case _:
            for table in tables:
                output.print_table(table)


@contextlib.contextmanager
def exit_on_ctrl_c() -> Iterator[None]:
    """Exit without a message on Ctrl-C, for what is watched until one has seen enough."""
    try:
        yield
    except KeyboardInterrupt as error:
        sys.exit(exit_code(error))
