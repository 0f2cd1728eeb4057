"""One row for each cell: what its graph is like and what its network costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
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


@dataclass(frozen=True)
class Shape:
    """What a cell's graph is like; widths in units of c, depths in edges (Section 3.2).

    Attributes:
        width: By the paper's final definition, over the nodes that reach the output.
        depth: Edges on the longest path from an input to the output.
        width_all_nodes: Width with dead nodes.
        depth_all_nodes: Depth with paths that begin at a node without edges.
        early_width: Width by the paper's earlier definition.
        input_share: Share of the live nodes' edges that come from inputs.
        unused_inputs: Inputs that do not reach the output.
        dead_nodes: Intermediate nodes that do not reach it.
    """

    width: float
    depth: int
    width_all_nodes: float
    depth_all_nodes: int
    early_width: float
    input_share: float
    unused_inputs: tuple[int, ...]
    dead_nodes: tuple[int, ...]

    @classmethod
    def of(cls, cell: Cell) -> Shape:
        """Measure a cell's graph."""
        used = used_inputs(cell)
        return cls(
            width=cell.width,
            depth=cell.depth,
            width_all_nodes=cell.width_all_nodes,
            depth_all_nodes=cell.depth_all_nodes,
            early_width=early_width(cell),
            input_share=input_share(cell),
            unused_inputs=tuple(node for node in range(INPUTS) if node not in used),
            dead_nodes=dead_nodes(cell),
        )


@dataclass(frozen=True)
class Row:
    """A base or variant.

    Attributes:
        base: Name of the genotype that it is or was drawn from.
        kind: base, connections or operations: what was redrawn.
        index: Its place on a figure's axis; 0 is the base.
        name: The base's own, or how the variant was drawn.
        normal: The normal cell's graph.
        reduction: The reduction cell's.
        parameters: Of the network.
        live_parameters: Those that get a gradient.
        genotype: Both cells.
    """

    base: str
    kind: str
    index: int
    name: str
    normal: Shape
    reduction: Shape
    parameters: int
    live_parameters: int
    genotype: Genotype

    def record(self) -> dict[str, Any]:
        """Return the row as plain data; `reduction_…` is the reduction cell's."""
        fields = asdict(self)
        normal, reduction = fields.pop("normal"), fields.pop("reduction")
        del fields["genotype"]
        sizes = {name: fields.pop(name) for name in ("parameters", "live_parameters")}
        reduced = {f"reduction_{name}": value for name, value in reduction.items()}
        return {**fields, **normal, **sizes, **reduced}


def make_rows(
    cells: Sequence[Base],
    variants: str | None,
    operations: str | None,
    size: NetworkSpec,
    *,
    classes: int,
    auxiliary: bool = False,
) -> list[Row]:
    """Return each cell, followed by its variants.

    Args:
        cells: What to describe.
        variants: A mode of `connection_variants`, or "none"; without one, and without
            `operations`, the paper's own of each base.
        operations: A mode of `operation_variants`.
        size: Of the network.
        classes: Number of logits.
        auxiliary: Whether to count the auxiliary head.

    Raises:
        SpecError: A cell has no such variants.
    """
    rows = []
    for found in cells:
        for kind, index, name, genotype in _drawn(found, variants, operations):
            counted = cost.count(
                genotype, size, in_channels=3, classes=classes, image=32, auxiliary=auxiliary
            )
            shapes = Shape.of(genotype.normal), Shape.of(genotype.reduce)
            counts = counted.parameters, counted.live_parameters
            rows.append(Row(found.name, kind, index, name, *shapes, *counts, genotype))
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
