"""Figures 1, 2, 10, 11 and 25: the cells that an experiment names, trained or not.

The paper reads off that cells of popular searches are wide and shallow (Section 3.2).
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import pandas as pd
import plotly.graph_objects as go

from orchestrator.figures.members import read_members
from orchestrator.figures.topology import (
    Topology,
    named_cells,
    note_of,
    plot_topology,
    topology_data,
)
from results_schema.canonical import parse_json
from results_schema.errors import ConfigError, SpecError
from results_schema.genotype import Genotype
from workers.cells.topology import early_width

__all__ = ["Topologies", "plot_topologies", "topologies_data"]

COLUMNS = ("base", "variant", "index", "genotype")

EARLY = "Width as in the paper's earlier version: nodes fed by inputs alone, in units of c."


class Topologies(NamedTuple):
    """Cells in the experiment's order.

    Attributes:
        cells: Laid out.
        early: Whether their width is that of the paper's earlier version.
    """

    cells: tuple[Topology, ...]
    early: bool


def topologies_data(
    cells: pd.DataFrame, *, reduction: bool = False, width: str = "final"
) -> Topologies:
    """Lays out the cells.

    Args:
        cells: As `Results.cells(experiment)` returns them.
        reduction: Whether each normal cell is followed by its reduction cell.
        width: "final" for the definition of Section 3.2, which gives each node the share of its
            edges that come from inputs; "early" for that of the earlier version, which counts the
            nodes fed by inputs alone.

    Raises:
        ConfigError: There is no cell, a column is lacking, a genotype cannot be read, or a cell
            is too large to be drawn.
    """
    rows = read_members("topologies", cells, COLUMNS)
    named = named_cells(
        [(row["base"], row["index"], _read(row["genotype"], row["variant"])) for row in rows],
        reduction=reduction,
    )
    found = topology_data(named)
    if width == "early":
        widths = [early_width(cell) for _, cell in named]
        found = [
            replace(topology, width=early, width_all_nodes=early)
            for topology, early in zip(found, widths, strict=True)
        ]
    return Topologies(tuple(found), width == "early")


def plot_topologies(data: Topologies, title: str, *, labels: bool = False) -> go.Figure:
    """The figure, `PAGE_WIDTH` wide; every name in it is escaped.

    Args:
        data: The cells.
        title: Plain text.
        labels: Whether its operation stands on every edge; the mouse tells it in any case.
    """
    note = f"{note_of(data.cells)} {EARLY}" if data.early else note_of(data.cells)
    return plot_topology(data.cells, title, labelled=labels, note=note)


def _read(text: str, variant: str) -> Genotype:
    try:
        return Genotype.from_json(parse_json(text))
    except (ValueError, SpecError) as error:
        raise ConfigError(
            f"the genotype of {variant} cannot be read: {error}",
            fix="write the experiment's cells again: launch it once more",
        ) from error
