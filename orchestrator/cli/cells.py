"""The command `cells`: cells and their variants, drawings, the paper's Tables 1 to 3."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click import IntRange, argument, command, option
from click.core import ParameterSource

from orchestrator.cli.options import format_option, print_result
from orchestrator.output.tables import TextTable
from results_schema.errors import ConfigError

Row = dict[str, Any]
"""See `orchestrator.paper.cell_rows.make_rows`."""


@command()
@argument("names", nargs=-1, metavar="[CELL|FILE]...")
@option(
    "--variants",
    metavar="SET",
    help="Set of connection variants to add: paper13, paper10, profile, …, or none.",
)
@option("--operations", metavar="SET", help="Set of operation variants to add: paper10 or legacy.")
@option("--channels", default=36, help="Channels of a node before the first reduction.")
@option("--cells", default=20, help="Cells of the network.")
@option("--classes", type=IntRange(1), default=10, help="Classes of the data.")
@option("--auxiliary", is_flag=True, help="Count the parameters of the auxiliary head.")
@option("--draw", metavar="FILE", help="Draw the cells to a .html, .png, .svg or .pdf file.")
@option("--reduction", is_flag=True, help="Draw reduction cells too.")
@option("--label", "labelled", is_flag=True, help="Draw operations on the edges.")
@option("--table", type=IntRange(1, 3), help="Compare this table of the paper.")
@option("--plugin", "plugins", multiple=True, metavar="FILE", help="Plug-in of the cells.")
@format_option("json", "csv", "md", "latex")
def cells(
    names: tuple[str, ...],
    variants: str | None,
    operations: str | None,
    channels: int,
    cells: int,
    classes: int,
    auxiliary: bool,
    draw: str | None,
    reduction: bool,
    labelled: bool,
    table: int | None,
    plugins: tuple[str, ...],
    output_format: str,
) -> None:
    """Describe, compare and draw cells and their variants.

    Without a name, list all cells.
    """
    if table is not None:
        given = set(filter(_is_given, click.get_current_context().params))
        if given - {"table", "output_format"}:
            raise ConfigError("--table goes with a format alone", fix="drop the rest")
        _print_paper_table(table, output_format)
        return
    from orchestrator.config.grid import find
    from orchestrator.paper.cell_rows import make_rows
    from results_schema.plugins import load
    from results_schema.trial import NetworkSpec
    from workers.cells.bases import BASES

    for plugin in plugins:
        load(plugin)
    if not names and (variants or operations):
        raise ConfigError("variants of which cell?", fix="name one, such as DARTS")
    shown, size = [find(name) for name in names or BASES], NetworkSpec(cells, channels)
    variants = variants if names else "none"
    rows = make_rows(shown, variants, operations, size, classes=classes, auxiliary=auxiliary)
    if draw:
        _draw_rows(rows, Path(draw), reduction=reduction, labelled=labelled)
    records = [{key: row[key] for key in row if key != "genotype"} for row in rows]
    if names:
        title = f"Cells, and networks of {cells} cells, {channels} channels, {classes} classes"
        sheet = _rows_table(rows, title + ", auxiliary head" * auxiliary)
        data: Any = [row | {"genotype": row["genotype"].to_json()} for row in rows]
    else:
        sheet, data = _bases_table(rows), _bases_data(records)
    print_result(output_format, [sheet], records, data)
    if draw:
        click.echo(f"drawn: {draw}", err=output_format != "text")


def _is_given(option: str) -> bool:
    source = click.get_current_context().get_parameter_source(option)
    return source is not ParameterSource.DEFAULT


def _print_paper_table(number: int, output_format: str) -> None:
    from orchestrator.paper.tables import paper_tables

    tables = paper_tables(number)
    records = [record for table in tables for record in table.records]
    print_result(output_format, [table.sheet for table in tables], records)


def _draw_rows(rows: Sequence[Row], path: Path, *, reduction: bool, labelled: bool) -> None:
    from orchestrator.figures.export import check_suffix, save_figure
    from orchestrator.figures.topology import lay_out_cells, named_cells
    from orchestrator.figures.topology_drawing import plot_cells

    check_suffix(path)
    members = [
        (row["base"] if row["index"] else row["name"], row["index"], row["genotype"])
        for row in rows
    ]
    cells = named_cells(members, reduction=reduction)
    laid_out = lay_out_cells(cells)
    save_figure(plot_cells(laid_out, labels=labelled, together=1 + reduction), path)


def _bases_data(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what `_bases_table` shows, as plain data."""
    from orchestrator.paper import printed
    from workers.cells.bases import ADAPTED, DARTS_CONNECTIONS, DARTS_OPERATIONS, zoo

    bases = []
    for record in records:
        width, depth = printed.FIGURE_1[record["name"]]
        early, _ = printed.FIGURE_1_EARLIER[record["name"]]
        extra = {"printed_width": width, "printed_depth": depth, "printed_early_width": early}
        bases.append(record | extra)
    return {
        "bases": bases,
        "adapted": ADAPTED,
        "published_variants": (*DARTS_CONNECTIONS, *DARTS_OPERATIONS),
        "zoo": zoo(),
    }


def _bases_table(rows: Sequence[Row]) -> TextTable:
    """Return Figure 1's widths and depths beside ours, for the five bases, and name other cells."""
    from orchestrator.paper import printed
    from workers.cells.bases import ADAPTED, DARTS_CONNECTIONS, DARTS_OPERATIONS, zoo

    lines, highlights = [], {}
    for number, row in enumerate(rows):
        name, depth = row["name"], row["depth"]
        shapes = (
            *(printed.FIGURE_1[name], (row["width"], depth)),
            *(printed.FIGURE_1_EARLIER[name], (row["early_width"], depth)),
            (row["reduction_width"], row["reduction_depth"]),
        )
        labels = [printed.shape_label(*shape) for shape in shapes]
        highlights |= {(number, 3): 1} if labels[0] != labels[1] else {}
        highlights |= {(number, 5): 1} if labels[2] != labels[3] else {}
        nodes = len(row["genotype"].normal.nodes)
        lines.append((name, str(nodes), *labels, f"{row['parameters']:,}"))
    return TextTable(
        "Width and depth in Figure 1 of the paper's final and first version",
        ("cell", "nodes", "final\nprinted", "\ncounted", "first\nprinted", "\ncounted",
         "reduction\ncell", "\nparameters"),
        lines,
        highlights,
        ("not as printed",) if highlights else (),
        (
            f"Adapted: {', '.join(ADAPTED)}.",
            f"Variants of DARTS published as cells: {', '.join(DARTS_CONNECTIONS)} and"
            f" {', '.join(DARTS_OPERATIONS)}. DARTS is its second-order cell; also DARTS_V1.",
            f"Zoo of {len(zoo())} cells of other searches: {', '.join(zoo())}."
            " Write zoo:NAME where the paper has the name too.",
        ),
    )  # fmt: skip


def _rows_table(rows: Sequence[Row], title: str) -> TextTable:
    """Return a line for each cell."""
    from orchestrator.paper.printed import shape_label

    columns = (
        "cell", "index", "width,\ndepth", "all\nnodes", "early\nwidth", "\nparameters", "\n10⁶",
        "live\nparameters", "unused\ninputs", "input\nshare", "dead\nnodes",
    )  # fmt: skip
    lines = [
        (
            f"{row['name']}, operations" if row["kind"] == "operations" else row["name"],
            str(row["index"]),
            shape_label(row["width"], row["depth"]),
            shape_label(row["width_all_nodes"], row["depth_all_nodes"]),
            f"{row['early_width']:g}c",
            f"{row['parameters']:,}",
            f"{row['parameters'] / 1e6:.2f}",
            f"{row['live_parameters']:,}",
            _list_nodes(row, "unused_inputs"),
            f"{row['input_share']:.0%}",
            _list_nodes(row, "dead_nodes"),
        )
        for row in rows
    ]
    remarks = (
        "Width (in channels c of a node) and depth (in edges) are the normal cell's, over the nodes"
        " that reach the output; all nodes: with the others too; early: by the definition of the"
        " paper's first version.",
        "Live parameters get a gradient. Nodes 0 and 1 are the inputs; r: of the reduction cell.",
    )
    return TextTable(title, columns, lines, remarks=remarks)


def _list_nodes(row: Row, key: str) -> str:
    names = [str(node) for node in row[key]] + [f"r{node}" for node in row[f"reduction_{key}"]]
    return " ".join(names) or "–"
