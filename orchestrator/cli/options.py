"""What several commands share: options, the formats they print in, interruption."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from orchestrator.output.tables import (
    TextTable,
    print_table,
    to_csv,
    to_json,
    to_latex,
    to_markdown,
)

if TYPE_CHECKING:
    from results_schema.store import Store

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C or a signal ended."""

store_option = click.option(
    "--store",
    default="results",
    show_default=True,
    metavar="PLACE",
    help="Store of results: a folder or s3://BUCKET/PREFIX.",
)
yes_option = click.option("--yes", is_flag=True, help="Remove without asking for confirmation.")
names_argument = click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")


def format_option(*formats: str) -> Callable[[Any], Any]:
    """Return the option `--format` with `text`, the default, and other formats."""
    return click.option(
        "--format",
        "output_format",
        type=click.Choice(["text", *formats]),
        default="text",
        show_default=True,
        help="Format of the output.",
    )


class GpuShare(click.ParamType):
    """Part of a GPU or several whole ones, as Ray assigns them, or the word auto."""

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


def experiment_options(command: Any) -> Any:
    """Add the options that choose experiments' files, what changes them, and the store."""
    for option in (
        store_option,
        click.option(
            "--set",
            "overrides",
            multiple=True,
            metavar="PATH=VALUE",
            help="Override one value of the experiments, such as recipe.epochs=2; repeatable.",
        ),
        click.option(
            "--profile", metavar="NAME", help="Named set of overrides to apply, such as laptop."
        ),
        click.argument("experiments", nargs=-1, required=True, metavar="EXPERIMENT.yaml|FOLDER..."),
    ):
        command = option(command)
    return command


def cluster_options(command: Any) -> Any:
    """Add the options that choose GPUs and a Ray cluster."""
    for option in (
        click.option(
            "--gpus-per-surface",
            type=GpuShare(),
            default=1.0,
            show_default=True,
            help="Share of a GPU for each surface.",
        ),
        click.option(
            "--address",
            metavar="auto|HOST:PORT",
            help="Ray cluster to join. Default: start Ray on this machine.",
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
        click.option(
            "--device",
            type=click.Choice(["cuda", "cpu"]),
            help="Device to compute on. Default: a GPU.",
        ),
    ):
        command = option(command)
    return command


def open_store(location: str) -> Store:
    """Return a store that exists.

    Raises:
        StoreError: The store does not exist.
    """
    from results_schema.store import existing_store  # slow to import: not for --help

    return existing_store(location)


def print_result(
    output_format: str,
    tables: Sequence[TextTable],
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
            print(to_json(records if data is None else data))
        case "csv":
            print(to_csv(records))
        case "md":
            print("\n\n".join(map(to_markdown, tables)))
        case "latex":
            print("\n\n".join(map(to_latex, tables)))
        case _:
            for table in tables:
                print_table(table)


@contextlib.contextmanager
def exit_on_ctrl_c() -> Iterator[None]:
    """Exit without a message on Ctrl-C, for what is watched until one has seen enough."""
    try:
        yield
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
