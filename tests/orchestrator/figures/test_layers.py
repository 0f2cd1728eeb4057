"""Graphs laid out in layers."""

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.figures.layers import FIXED_ROOM, Layout, lay_out


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
    assert layout.heights[0] - layout.heights[1] >= FIXED_ROOM - 1e-9
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
