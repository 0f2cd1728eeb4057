"""One row for each cell: what its graph is like and what its network costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from orchestrator.config.grid import Base
from orchestrator.paper.printed import TABLE_3
from results_schema.genotype import INPUTS, Cell, Genotype
from results_schema.trial import NetworkSpec
from workers.cells import cost
from workers.cells.topology import dead_nodes, early_width, input_share, used_inputs
from workers.cells.variants import connection_variants, operation_variants

DEFAULT_VARIANTS = {**dict.fromkeys(TABLE_3, "paper13"), "SNAS": "paper4"}
"""The paper's own connection variants of each base, shown when nothing else is asked for."""


def shape_of(cell: Cell, prefix: str = "") -> dict[str, Any]:
    """Return what a cell's graph is like; widths in units of c, depths in edges (Section 3.2).

    `width` and `depth` are of the nodes that reach the output, `…_all_nodes` of dead ones too;
    `early_width` is by the paper's earlier definition, `input_share` the share of the live nodes'
    edges that come from inputs. Inputs and nodes that do not reach the output are listed.
    """
    used = used_inputs(cell)
    shape = {
        "width": cell.width,
        "depth": cell.depth,
        "width_all_nodes": cell.width_all_nodes,
        "depth_all_nodes": cell.depth_all_nodes,
        "early_width": early_width(cell),
        "input_share": input_share(cell),
        "unused_inputs": tuple(node for node in range(INPUTS) if node not in used),
        "dead_nodes": dead_nodes(cell),
    }
    return {f"{prefix}{name}": value for name, value in shape.items()}


def make_rows(
    cells: Sequence[Base],
    variants: str | None,
    operations: str | None,
    size: NetworkSpec,
    *,
    classes: int,
    auxiliary: bool = False,
) -> list[dict[str, Any]]:
    """Return a row for each cell, followed by those of its variants.

    Args:
        cells: What to describe.
        variants: A mode of `connection_variants`, or "none"; without one, and without
            `operations`, the paper's own of each base.
        operations: A mode of `operation_variants`.
        size: Of the network.
        classes: Number of logits.
        auxiliary: Whether to count the auxiliary head.

    Returns:
        Rows of base (what it was drawn from), kind (what was redrawn: connections, operations, or
        base), index (0 is the base), name, the normal cell's `shape_of`, parameters,
        live_parameters (those that get a gradient), the reduction cell's `shape_of` behind
        `reduction_`, and the genotype.

    Raises:
        SpecError: A cell has no such variants.
    """
    rows = []
    for found in cells:
        for kind, index, name, genotype in _drawn(found, variants, operations):
            counted = cost.count(
                genotype, size, in_channels=3, classes=classes, image=32, auxiliary=auxiliary
            )
            rows.append(
                {"base": found.name, "kind": kind, "index": index, "name": name}
                | shape_of(genotype.normal)
                | {"parameters": counted.parameters, "live_parameters": counted.live_parameters}
                | shape_of(genotype.reduce, "reduction_")
                | {"genotype": genotype}
            )
    return rows


def _drawn(
    found: Base, variants: str | None, operations: str | None
) -> Iterator[tuple[str, int, str, Genotype]]:
    yield "base", 0, found.name, found.genotype
    if variants is None and operations is None and found.published:
        variants = DEFAULT_VARIANTS.get(found.name)
    if variants not in (None, "none"):
        for variant in connection_variants(found.origin, variants):
            yield "connections", variant.index, variant.name, variant.genotype
    if operations is not None:
        for variant in operation_variants(found.origin, operations):
            yield "operations", variant.index, variant.name, variant.genotype
