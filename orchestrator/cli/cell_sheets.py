"""What `nas-sweep cells` shows of cells, laid out to be read: the bases, and any rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orchestrator.output.tables import TextTable
from orchestrator.paper import printed
from orchestrator.paper.cell_rows import Row, Shape
from orchestrator.paper.printed import shape_label
from workers.cells.bases import ADAPTED, DARTS_CONNECTIONS, DARTS_OPERATIONS, zoo


def bases_sheet(rows: Sequence[Row]) -> TextTable:
    """Figure 1's widths and depths beside ours, and what other cells there are.

    Args:
        rows: One for each of the five bases.
    """
    lines, marks = [], {}
    for number, row in enumerate(rows):
        cell = row.normal
        final = shape_label(*printed.FIGURE_1[row.name]), shape_label(cell.width, cell.depth)
        earlier = (
            shape_label(*printed.FIGURE_1_EARLIER[row.name]),
            shape_label(cell.early_width, cell.depth),
        )
        marks |= {(number, 3): 1} if final[0] != final[1] else {}
        marks |= {(number, 5): 1} if earlier[0] != earlier[1] else {}
        reduction = shape_label(row.reduction.width, row.reduction.depth)
        nodes = str(len(row.genotype.normal.nodes))
        lines.append((row.name, nodes, *final, *earlier, reduction, f"{row.parameters:,}"))
    return TextTable(
        "Width and depth in Figure 1 of the paper's final and first version",
        ("cell", "nodes", "final\nprinted", "\ncounted", "first\nprinted", "\ncounted",
         "reduction\ncell", "\nparameters"),
        lines,
        marks,
        ("not as printed",) if marks else (),
        (
            f"Adapted: {', '.join(ADAPTED)}.",
            f"Variants of DARTS published as cells: {', '.join(DARTS_CONNECTIONS)} and"
            f" {', '.join(DARTS_OPERATIONS)}. DARTS is its second-order cell; also DARTS_V1.",
            f"Zoo of {len(zoo())} cells of other searches: {', '.join(zoo())}."
            " Write zoo:NAME where the paper has the name too.",
        ),
    )  # fmt: skip


def rows_sheet(rows: Sequence[Row], title: str) -> TextTable:
    """One line for each cell."""
    columns = (
        "cell", "index", "width,\ndepth", "all\nnodes", "early\nwidth", "\nparameters", "\n10⁶",
        "live\nparameters", "unused\ninputs", "input\nshare", "dead\nnodes",
    )  # fmt: skip
    lines = [
        (
            f"{row.name}, operations" if row.kind == "operations" else row.name,
            str(row.index),
            shape_label(row.normal.width, row.normal.depth),
            shape_label(row.normal.width_all_nodes, row.normal.depth_all_nodes),
            f"{row.normal.early_width:g}c",
            f"{row.parameters:,}",
            f"{row.parameters / 1e6:.2f}",
            f"{row.live_parameters:,}",
            _nodes(row, lambda shape: shape.unused_inputs),
            f"{row.normal.input_share:.0%}",
            _nodes(row, lambda shape: shape.dead_nodes),
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


def _nodes(row: Row, of: Callable[[Shape], tuple[int, ...]]) -> str:
    names = [str(node) for node in of(row.normal)] + [f"r{node}" for node in of(row.reduction)]
    return " ".join(names) or "–"
