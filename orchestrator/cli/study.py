"""The commands that study what there is, and train nothing: parse and call, like `cli`."""

from __future__ import annotations

import sys

import click

from orchestrator.cli.store import left_by_ctrl_c, store_option
from results_schema.errors import ConfigError


@click.command()
@store_option
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=350,
    show_default=True,
    help="Random cells for each of 4 objectives and 3 gains.",
)
@click.option(
    "--nodes", type=click.IntRange(1, 20), default=5, show_default=True, help="Of a cell."
)
@click.option(
    "--width", type=click.IntRange(1, 32), default=8, show_default=True, help="Of a node."
)
@click.option(
    "--batch", type=click.IntRange(2), default=256, show_default=True, help="Inputs of a cell."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "json"]),
    default="text",
    show_default=True,
    help="Print in this form.",
)
@click.option("--draw", metavar="FILE", help="Draw to a .html, .png, .svg or .pdf file.")
def theory(
    experiments: tuple[str, ...],
    store: str,
    draws: int,
    nodes: int,
    width: int,
    batch: int,
    seed: int,
    form: str,
    draw: str | None,
) -> None:
    """Check the paper's equations and theorems; of experiments, Theorem 4.1 of each trial."""
    from orchestrator.cli.theory import show_theory
    from workers.theory.checks import Settings

    settings = Settings(draws, seed, nodes, width, batch)
    sys.exit(show_theory(experiments, store, settings, form=form, draw=draw))


@click.command()
@store_option
@click.argument("sql", required=False)
@click.option("--schema", is_flag=True, help="List tables and columns, with units and meaning.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json", "markdown"]),
    default="table",
    show_default=True,
    help="Print in this form.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="Give up after this time.",
)
@click.option(
    "--memory",
    type=click.FloatRange(0.1, 10_000),
    default=4.0,
    show_default=True,
    metavar="GB",
    help="Give up beyond this much memory, for the query and again for its answer.",
)
def query(
    sql: str | None, store: str, schema: bool, form: str, timeout: float, memory: float
) -> None:
    """Ask the store's tables in SQL (DuckDB's); "-" reads the query from standard input."""
    from orchestrator.cli.query import show_query, show_schema

    if schema == (sql is not None):
        raise ConfigError("give a query or --schema", fix='nas-sweep query "FROM trials"')
    if schema:
        show_schema(form)
    elif sql is not None:
        text = sys.stdin.read() if sql == "-" else sql
        show_query(text, store, form, timeout=timeout, memory=memory)


@click.command()
@store_option
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--claim", metavar="ID", help="Show this one in full.")
@click.option("--list", "listed", is_flag=True, help="List the claims and their statistics.")
@click.option(
    "--format",
    "form",
    type=click.Choice(["text", "markdown", "csv", "latex", "json"]),
    default="text",
    show_default=True,
    help="Print in this form.",
)
def claims(
    experiments: tuple[str, ...], store: str, claim: str | None, listed: bool, form: str
) -> None:
    """Test the paper's claims on what the store, or experiments in it, measured."""
    from orchestrator.cli.claims import show_claims, show_list

    if listed:
        show_list(form)
    else:
        sys.exit(show_claims(experiments, store, claim, form))


@click.command()
@store_option
@click.argument("experiments", nargs=-1, metavar="[EXPERIMENT]...")
@click.option("--to", metavar="PLACE", help="A folder, or with --single a file; else in the store.")
@click.option("--single", is_flag=True, help="Write one file that holds everything.")
@click.option(
    "--picture",
    "pictures",
    multiple=True,
    type=click.Choice(["png", "svg", "pdf"]),
    default=["png"],
    show_default=True,
    help="Of each figure; may be repeated.",
)
def report(
    experiments: tuple[str, ...], store: str, to: str | None, single: bool, pictures: list[str]
) -> None:
    """Write a page of what was run: figures, tables, claims, failures, provenance."""
    from orchestrator.report.write import report

    sys.exit(report(experiments, store, to=to, single=single, pictures=pictures))


@click.command()
@store_option
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8050,
    show_default=True,
    help="To listen on; 0 for any that is free.",
)
@click.option("--open", "show", is_flag=True, help="Open a browser.")
def dash(store: str, port: int, show: bool) -> None:
    """Show a live page of the store on this machine: trials, curves, surfaces, claims."""
    from orchestrator.dash.serve import serve

    with left_by_ctrl_c():
        serve(store, port, show=show)


COMMANDS = (theory, query, claims, report, dash)
