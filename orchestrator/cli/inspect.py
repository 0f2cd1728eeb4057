"""The commands that show and export what a store has: `query`, `report`, `dash` and `export`.

`status` and `cells`, of the same family, have modules of their own.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import click
from click import Choice, FloatRange, IntRange, argument, command, option

from orchestrator.cli import catalog, cells, status
from orchestrator.cli.options import (
    announce,
    complete_experiments,
    exit_on_ctrl_c,
    format_option,
    names_argument,
    open_store,
    print_result,
    report_damage,
    store_option,
)
from orchestrator.output.tables import TextTable
from orchestrator.output.text import counted
from results_schema.errors import ConfigError

_TABLES, _PICTURES = ("parquet", "csv", "numpy", "tensorboard"), ("html", "png", "svg", "pdf")
"""Formats that `export` writes, the default first."""
_LIBRARIES = 500_000_000
"""Bytes that the libraries of a query and their threads may take."""


@command()
@store_option
@argument("sql", required=False)
@option("--schema", is_flag=True, help="List tables and columns, with units and meaning.")
@format_option("json", "csv", "md")
@option(
    "--timeout",
    type=FloatRange(0, min_open=True),
    default=300.0,
    metavar="SECONDS",
    help="Longest time that the query may take.",
)
@option(
    "--memory",
    type=FloatRange(0.1, 10_000),
    default=4.0,
    metavar="GB",
    help="Most memory that the query may take, and again its answer.",
)
def query(
    sql: str | None, store: str, schema: bool, output_format: str, timeout: float, memory: float
) -> None:
    """Query the tables of a store in DuckDB's SQL.

    "-" reads the query from standard input.
    """
    if schema == (sql is not None):
        raise ConfigError("give a query or --schema", fix='nas-sweep query "FROM trials"')
    if schema:
        _print_schema(output_format)
    elif sql is not None:
        text = sys.stdin.read() if sql == "-" else sql
        _print_answer(text, store, output_format, timeout=timeout, memory=memory)


def _print_answer(
    sql: str, location: str, output_format: str, *, timeout: float, memory: float
) -> None:
    from orchestrator.housekeeping.status import ItemTables, damage_lines
    from orchestrator.query.engine import Limits, query
    from orchestrator.query.formats import to_text_table, write_csv, write_json

    limits = Limits(timeout, int(memory * 1e9))
    with _limit_memory(2 * limits.memory + _LIBRARIES):
        store = open_store(location)
        damaged = ItemTables(store).damaged()
        answer = query(store, sql, limits, without=damaged)
    if output_format == "csv":
        write_csv(answer, sys.stdout)
    elif output_format == "json":
        write_json(answer, sys.stdout)
    else:
        table = to_text_table(answer, whole=output_format != "text")
        print_result(output_format, [table], ())
    report_damage(damage_lines(damaged))


@contextlib.contextmanager
def _limit_memory(more: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has, where the system can limit that.

    DuckDB's own limit does not count what single functions take, such as `repeat`.
    """
    import resource

    import psutil

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    memory = psutil.Process().memory_info()
    bound = getattr(memory, "data", memory.vms) + more
    known = [limit for limit in (bound, soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(known), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _print_schema(output_format: str) -> None:
    from orchestrator.query.catalog import TABLES, VIEWS

    tables, records = [], []
    for name, table in TABLES.items():
        rows = []
        for field in table.schema:
            unit, doc = (field.metadata.get(key, b"").decode() for key in (b"unit", b"doc"))
            rows.append((field.name, str(field.type), unit, doc))
            keys = ("table", "column", "type", "unit", "doc")
            records.append(dict(zip(keys, (name, *rows[-1]), strict=True)))
        heads = ("column", "type", "unit", "meaning")
        tables.append(TextTable(f"{name}: {table.doc}", heads, rows, left=(1, 2, 3)))
    views = [{"view": name, "doc": view.doc, "tables": view.reads} for name, view in VIEWS.items()]
    rows = [(name, view.doc) for name, view in VIEWS.items()]
    tables.append(TextTable("Views", ("view", "what it is"), rows, left=(1,)))
    print_result(output_format, tables, records, {"columns": records, "views": views})


@command()
@store_option
@names_argument
@option(
    "--to",
    metavar="PLACE",
    help="Folder for the page, or with --single its file. Default: in the store.",
)
@option("--single", is_flag=True, help="Write one file that holds everything.")
@option(
    "--picture",
    "pictures",
    multiple=True,
    type=Choice(["png", "svg", "pdf"]),
    default=["png"],
    help="Format of a picture of each figure; repeatable.",
)
def report(
    experiments: tuple[str, ...], store: str, to: str | None, single: bool, pictures: list[str]
) -> None:
    """Write a page of figures, tables, claims, failures, provenance."""
    from rich.console import Console

    announce("drawing figures and writing the report")
    from orchestrator.report.write import make_report

    opened, place = open_store(store), None if to is None else Path(to)
    written = make_report(opened, experiments, to=place, single=single, pictures=pictures)
    console = Console(soft_wrap=True, emoji=False)
    for failure in written.failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False)
    console.print(f"report: {written.place}", markup=False, highlight=False)
    report_damage(written.damage)
    sys.exit(1 if written.failures else 0)


@command()
@store_option
@option(
    "--port", type=IntRange(0, 65535), default=8050, help="Port to listen on; 0 for any free one."
)
@option(
    "--host",
    default="127.0.0.1",
    metavar="ADDRESS",
    help="Address to listen at. Any but this machine's own asks for a token.",
)
@option("--open", "show", is_flag=True, help="Open the page in a browser.")
def dash(store: str, port: int, host: str, show: bool) -> None:
    """Serve a live page of the store."""
    from http.server import HTTPServer

    from orchestrator.dash.server import LOCAL, make_server, token_for

    opened, token = open_store(store), token_for(host)
    with exit_on_ctrl_c(), make_server(opened, port, host, token) as server:
        name = {"0.0.0.0": LOCAL, "::": LOCAL}.get(host, f"[{host}]" if ":" in host else host)
        address = f"http://{name}:{server.port}" + f"/?token={token}" * bool(token)
        click.echo(f"{address} shows {opened.location}; Ctrl-C ends it")
        if show:
            import webbrowser

            webbrowser.open(address)
        HTTPServer.serve_forever(server)  # werkzeug's own method hides which signal has ended it


@command()
@store_option
@argument("experiment", shell_complete=complete_experiments)
@option("--to", required=True, metavar="FOLDER", help="Folder for the files; made if need be.")
@option(
    "--format",
    "file_format",
    type=Choice([*_TABLES, *_PICTURES]),
    help="Format of the files: parquet (default) or csv for tables, numpy for surfaces, tensorboard"
    " for curves; html (default), png, svg or pdf for figures.",
)
@option("--figure", metavar="NAME", help="Draw this figure of the experiment instead.")
@option("--size", type=Choice(["page", "column"]), help="Width that the figure is printed at.")
@option("--font-size", type=FloatRange(6, 14), help="Size of the figure's letters in points.")
@option("--untitled", is_flag=True, help="Leave out the figure's title, for one with a caption.")
@option("--force", is_flag=True, help="Replace files that exist.")
def export(
    experiment: str,
    store: str,
    to: str,
    file_format: str | None,
    figure: str | None,
    size: str | None,
    font_size: float | None,
    untitled: bool,
    force: bool,
) -> None:
    """Write tables, curves, surfaces or a figure as files."""
    opened, folder = open_store(store), Path(to)
    look = {"size": size, "font_size": font_size, "titled": False if untitled else None}
    if figure is None:
        from orchestrator.housekeeping.export import export
        from orchestrator.housekeeping.status import sound_results

        asked = {
            f"--format {file_format}": file_format in _PICTURES,
            "--size": size is not None,
            "--font-size": font_size is not None,
            "--untitled": untitled,
        }
        if of_figures := [name for name, given in asked.items() if given]:
            what = f"{', '.join(of_figures)}: this is for figures alone"
            raise ConfigError(what, fix="name one: --figure NAME")
        kind = file_format or _TABLES[0]
        results, damage = sound_results(opened)
        written = export(results, experiment, folder, file_format=kind, force=force)
        for path, rows in written.items():
            click.echo(f"{path}: {counted(rows, 'row')}")
        report_damage(damage)
        return
    from orchestrator.report.exhibits import export_figure

    if file_format in _TABLES:
        fix = f"use one of {', '.join(_PICTURES)}"
        raise ConfigError(f"a figure has no format {file_format}", where="--format", fix=fix)
    target = folder / f"{figure}.{file_format or _PICTURES[0]}"
    export_figure(opened, experiment, figure, target, look, force=force)
    click.echo(str(target))


COMMANDS = (*status.COMMANDS, query, cells.cells, *catalog.COMMANDS, report, dash, export)
