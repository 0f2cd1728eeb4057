"""Cells as graphs: nodes in layers, few crossings, the cells of an experiment."""

import json
from itertools import combinations, pairwise

import pandas as pd
import pytest
from figure_parts import plot, texts
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.topology import (
    FIXED_DISTANCE,
    Layout,
    lay_out,
    lay_out_cells,
    topologies_data,
)
from results_schema.errors import ConfigError
from results_schema.genotype import Cell
from workers.cells.bases import NAMES, named, zoo, zoo_genotype


def crossings(layout: Layout) -> int:
    pieces = [piece for path in layout.paths for piece in pairwise(path)]
    return sum(
        a[0][0] == b[0][0] and (a[0][1] - b[0][1]) * (a[1][1] - b[1][1]) < -1e-9
        for a, b in combinations(pieces, 2)
    )


@st.composite
def graphs(draw: st.DrawFn) -> tuple[list[int], list[tuple[int, int]]]:
    """Cells' graphs: two inputs, nodes of two edges each, an output of some of the nodes."""
    layers, edges = [0, 0], []
    for node in range(2, 2 + draw(st.integers(1, 8))):
        sources = draw(st.lists(st.integers(0, node - 1), min_size=0, max_size=3))
        edges += [(source, node) for source in sources]
        layers.append(max((layers[source] + 1 for source in sources), default=0))
    output = len(layers)
    layers.append(max(layers) + 1)
    edges += [(n, output) for n in draw(st.sets(st.integers(2, output - 1), min_size=1))]
    return layers, edges


@given(graphs())
def test_nodes_keep_apart_and_edges_run_from_layer_to_layer(
    graph: tuple[list[int], list[tuple[int, int]]],
):
    layers, edges = graph
    layout = lay_out(layers, edges, fixed=(0, 1))
    assert layout.heights[0] - layout.heights[1] >= FIXED_DISTANCE - 1e-9
    for a, b in combinations(range(len(layers)), 2):
        if layers[a] == layers[b]:
            assert abs(layout.heights[a] - layout.heights[b]) > 1 - 1e-9
    for (source, target), path in zip(edges, layout.paths, strict=True):
        assert [x for x, _ in path] == list(range(layers[source], layers[target] + 1))
        assert (path[0][1], path[-1][1]) == (layout.heights[source], layout.heights[target])
        for x, y in path[1:-1]:
            beside = [layout.heights[n] for n, layer in enumerate(layers) if layer == x]
            assert all(abs(y - height) > 0.5 for height in beside)


@pytest.mark.parametrize(
    ("layers", "edges", "fewest"),
    [
        ([0, 0, 1, 1], [(0, 3), (1, 2)], 0),
        ([0, 0, 1, 1], [(0, 2), (0, 3), (1, 2), (1, 3)], 1),
        ([0, 0, 1, 1, 1, 2], [(0, 4), (0, 2), (1, 3), (2, 5), (3, 5), (4, 5)], 0),
        ([0, 0, 1, 2, 3, 4], [(0, 2), (1, 2), (2, 3), (0, 4), (3, 4), (1, 5), (4, 5)], 0),
    ],
)
def test_no_more_edges_cross_than_must(
    layers: list[int], edges: list[tuple[int, int]], fewest: int
):
    assert crossings(lay_out(layers, edges, fixed=(0, 1))) == fewest


def test_a_path_is_level_where_nothing_stands_in_the_way():
    layout = lay_out([0, 1, 2, 3], [(0, 1), (1, 2), (2, 3)])
    assert max(layout.heights) - min(layout.heights) < 1e-6


@pytest.mark.parametrize("name", [*NAMES, *zoo()])
def test_the_output_is_as_far_right_as_the_cell_is_deep(name: str):
    cell = (named(name) if name in NAMES else zoo_genotype(name)).normal
    (topology,) = lay_out_cells([(name, cell)])
    assert topology.nodes[-1].x == topology.depth
    ends = [(edge.op, edge.source, edge.target) for edge in topology.edges if edge.op]
    assert ends == [(e.op, e.source, n) for n, node in enumerate(cell.nodes, 2) for e in node]
    assert [edge.source for edge in topology.edges if not edge.op] == sorted(cell.concat)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ConfigError, match="no cell to draw"):
        lay_out_cells([])
    long = Cell.from_json({"nodes": [[("skip_connect", 0)] * 2] * 17, "concat": [2]})
    with pytest.raises(ConfigError, match="giant has 17 nodes"):
        lay_out_cells([("giant", long)])


def table(*names):
    return pd.DataFrame(
        [{"experiment": "fig1", "base": base, "variant": name, "index": index,
          "genotype": json.dumps(named(name).to_json())} for base, name, index in names]
    )  # fmt: skip


BASES = table(*((n, n, 0) for n in ("NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS")))


@pytest.mark.parametrize(
    ("width", "printed"),
    [("final", [(5, 2), (4, 4), (5, 2), (3.5, 3), (4, 2)]),
     ("early", [(5, 2), (3, 4), (5, 2), (3, 3), (4, 2)])],
)  # fmt: skip
def test_figure_1_has_the_widths_and_depths_that_both_versions_print(width, printed):
    data = topologies_data(BASES, width=width)
    assert [(cell.width, cell.depth) for cell in data.cells] == printed


def test_reduction_cells_follow_and_variants_are_named_by_index():
    cells = table(("DARTS", "DARTS", 0), ("DARTS", "DARTS_CONN1", 1))
    names = [cell.name for cell in topologies_data(cells, reduction=True).cells]
    assert names == ["DARTS", "DARTS, reduction", "C1", "C1, reduction"]
    both = pd.concat([cells, BASES.iloc[:1]])
    assert [cell.name for cell in topologies_data(both).cells] == ["DARTS", "DARTS C1", "NASNet"]


@pytest.mark.parametrize("genotype", ["", "{}", '{"normal": 1, "reduce": 2}'])
def test_a_broken_genotype_is_an_error(genotype):
    with pytest.raises(ConfigError, match="genotype of NASNet cannot be read"):
        topologies_data(BASES.iloc[:1].assign(genotype=genotype))


def test_a_normal_cell_stands_beside_its_reduction_cell():
    figure = plot("topologies", BASES, reduction=True)
    tops = {note["text"].partition(" (")[0]: note["y"] for note in figure.layout.annotations}
    for base in BASES["base"]:
        assert tops[base] == tops[f"{base}, reduction"]
    # A column is too narrow for two, which then follow each other.
    narrow = plot("topologies", BASES, reduction=True, size="column", labels=True)
    assert narrow.layout.width == 353
    assert len(narrow.layout.annotations) > 10


def test_options_reach_the_drawing():
    plain = texts(plot("topologies", BASES))
    full = texts(plot("topologies", BASES, labels=True, width="early", bases=["SNAS"]))
    assert "sep 3×3" not in plain
    assert {"sep 3×3", "SNAS (4c, 2)"} <= set(full)
    assert not any("DARTS" in text for text in full)
    early = "nodes fed by inputs alone"
    assert any(early in text for text in full) > any(early in text for text in plain)
