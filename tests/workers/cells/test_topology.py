"""Graphs of one cell, of many at once and of all that are possible, each against the others."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge
from workers.cells.bases import NAMES, named
from workers.cells.sampling import draw_sources, sample_connections
from workers.cells.topology import (
    Census,
    ConnectionBatch,
    census,
    dead_nodes,
    early_width,
    input_share,
    reconcat,
    used_inputs,
)

# Width over all nodes, depth, early width, width of the normal cell, then of the reduction cell.
SHAPES = {
    "NASNet": ((5, 2, 5, 5), (3.5, 3, 3, 3.5)),
    "NASNet_ADAPT": ((5, 2, 5, 5), (5, 2, 5, 3)),
    "AmoebaNet": ((4, 4, 3, 4), (4, 3, 3, 4)),
    "ENAS": ((5, 2, 5, 5), (4, 4, 3, 4)),
    "AmoebaNet_ADAPT": ((5, 2, 5, 3), (5, 2, 5, 3)),
    "ENAS_ADAPT": ((5, 2, 5, 5), (5, 2, 5, 3)),
    "DARTS": ((3.5, 3, 3, 3.5), (2.5, 3, 1, 2.5)),
    "SNAS": ((4, 2, 4, 4), (2.5, 3, 1, 2.5)),
    "DARTS_ADAPT": ((4, 2, 4, 4), (4, 2, 4, 4)),
    "SNAS_ADAPT": ((4, 2, 4, 4), (4, 2, 4, 4)),
}


def shape(cell: Cell) -> tuple[float, int, float, float]:
    return cell.width_all_nodes, cell.depth, early_width(cell), cell.width


def cell(*sources: tuple[int, ...], concat: tuple[int, ...]) -> Cell:
    return Cell(tuple(tuple(Edge("skip_connect", s) for s in node) for node in sources), concat)


def test_shapes_of_the_bases_and_adapted_cells():
    cells = {name: (named(name).normal, named(name).reduce) for name in SHAPES}
    assert {name: tuple(map(shape, both)) for name, both in cells.items()} == SHAPES


@pytest.mark.parametrize(
    ("base", "shapes"),
    [("AmoebaNet", [(2, 5), (1, 6), (2, 4), (3, 3)]), ("SNAS", [(2, 4), (1, 5), (2, 3), (3, 3)])],
)
def test_early_widths_of_variants_in_the_earlier_figures(base: str, shapes: list):
    variants = [sample_connections(named(base), seed).normal for seed in (1, 2, 3, 4)]
    assert [(early_width(v), v.depth) for v in variants] == shapes


def test_the_third_and_fourth_published_variants_of_darts_never_use_the_first_input():
    used = [used_inputs(named(f"DARTS_CONN{i}").normal) for i in range(1, 5)]
    assert used == [(0, 1), (0, 1), (1,), (1,)]


def test_dead_nodes_are_those_without_a_path_to_the_output():
    # Node 3 feeds only node 4, which nothing takes.
    graph = cell((0, 1), (0, 0), (3, 2), (2, 1), concat=(5,))
    assert dead_nodes(graph) == (3, 4)
    assert graph.live_nodes == {0, 1, 2, 5}
    assert (graph.width, graph.width_all_nodes) == (1.5, 2.5)
    assert input_share(graph) == 0.75


def test_nodes_without_edges_add_no_width_and_start_no_path():
    graph = cell((), (2,), (0, 1), concat=(3, 4))
    assert (early_width(graph), graph.width, graph.width_all_nodes) == (1, 1, 1)
    longer = cell((), (2,), (3, 0), concat=(4,))
    assert (longer.depth, longer.depth_all_nodes) == (2, 3)
    nowhere = cell((), (2,), concat=(3,))
    assert (nowhere.depth, nowhere.depth_all_nodes) == (0, 2)
    assert input_share(cell((), concat=(2,))) == 0


def test_reconcat_revives_dead_nodes_and_leaves_the_rest():
    # Node 2 stays out of concat, as it feeds others; node 5 feeds none.
    assert reconcat(named("AmoebaNet_ADAPT")).normal.concat == (2, 3, 4, 5, 6)
    assert reconcat(named("NASNet")) == named("NASNet")


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_no_node_is_dead_after_reconcat(name: str, seed: int):
    drawn = sample_connections(named(name), seed)
    revived = reconcat(drawn)
    for new, old in ((revived.normal, drawn.normal), (revived.reduce, drawn.reduce)):
        assert not dead_nodes(new)
        assert new.nodes == old.nodes
        assert set(old.concat) <= set(new.concat)
        assert new.width == new.width_all_nodes == old.width_all_nodes >= old.width
        assert old.depth == old.depth_all_nodes
    assert reconcat(revived) == revived


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[int], list[int], int]:
    """Edges into each node, some none, some in odd numbers; the output's nodes; a seed."""
    number = st.integers(0, 3) | st.sampled_from([41, 43, 47, 53, 59, 61, 64])
    edges = draw(st.lists(number, min_size=1, max_size=12))
    nodes = st.sampled_from(range(INPUTS, INPUTS + len(edges)))
    return edges, draw(st.lists(nodes, min_size=1, unique=True)), draw(st.integers(0, 2**32 - 1))


@given(batches())
def test_a_batch_agrees_with_single_cells(batch: tuple[list[int], list[int], int]):
    edges, concat, seed = batch
    stream = np.random.RandomState(seed)
    drawn = [
        [stream.randint(0, node, size) for node, size in enumerate(edges, start=INPUTS)]
        for _ in range(5)
    ]
    sources = np.array([np.concatenate(nodes) for nodes in drawn], dtype=np.int64)
    many = ConnectionBatch(edges, concat, sources)
    edged = [
        tuple(tuple(Edge("skip_connect", int(s)) for s in node) for node in nodes)
        for nodes in drawn
    ]
    cells = [Cell(nodes, tuple(concat)) for nodes in edged]
    assert [set(np.flatnonzero(row)) for row in many.live] == [set(c.live_nodes) for c in cells]
    assert many.widths.tolist() == [cell.width for cell in cells]
    assert many.depths.tolist() == [cell.depth for cell in cells]
    twice = [any(len(set(node.tolist())) < len(node) for node in nodes) for nodes in drawn]
    assert many.repeating.tolist() == twice
    graphs = [[sorted(node.tolist()) for node in nodes] for nodes in drawn]
    same = [[a == b for a in many.keys] for b in many.keys]
    assert same == [[a == b for a in graphs] for b in graphs]
    assert [ConnectionBatch.of(cell).keys for cell in cells] == [[p] for p in many.keys]


# Exact counts of four nodes.
FOUR = """1,3 4; 1,4 80; 1,5 60; 1.5,3 48; 1.5,4 640; 1.5,5 368; 2,3 528; 2,4 1984; 2,5 576;
2.5,3 1792; 2.5,4 2560; 2.5,5 256; 3,3 2688; 3,4 1024; 3.5,3 1536; 4,2 256"""
# Shares of five nodes, all concatenated, and with AmoebaNet's concat and dead nodes dropped.
FIVE = """1.5,3 .00012; 1.5,4 .0119; 1.5,5 .0196; 1.5,6 .0054; 2,4 .058; 2,5 .057; 2,6 .0106;
2.5,3 .0194; 2.5,4 .142; 2.5,5 .0764; 3,3 .0591; 3,4 .1736; 3,5 .0459; 3.5,3 .0889; 3.5,4 .0988;
3.5,5 .0099; 4,3 .0642; 4,4 .0198; 4.5,3 .0198; 5,2 .0020"""
AMOEBANET = """1.5,3 .0034; 1.5,5 .0277; 1.5,6 .0054; 2,4 .101; 2,6 .0106; 2.5,3 .0662; 2.5,5 .0722;
3,3 .0851; 3.5,3 .0578; 3.5,4 .0533"""


def table(text: str) -> dict[tuple[float, int], str]:
    rows = (entry.replace(",", " ").split() for entry in text.split(";"))
    return {(float(width), int(depth)): value for width, depth, value in rows}


def test_four_nodes_exactly():
    counted = census(4)
    assert counted.patterns == 120**2
    assert counted.shapes == {shape: int(count) for shape, count in table(FOUR).items()}


@pytest.mark.parametrize(("concat", "shares"), [(None, FIVE), ((4, 5, 6), AMOEBANET)])
def test_five_nodes_to_the_printed_digits(concat: tuple[int, ...] | None, shares: str):
    counted = census(5, concat)
    assert counted.patterns == 720**2 == sum(counted.shapes.values())
    for shape, printed in table(shares).items():
        share = counted.shapes[shape] / counted.patterns
        assert f"{share:.{len(printed) - 1}f}".lstrip("0") == printed


def test_tails_of_observation_3_1():
    # Normal cells: NASNet and ENAS, AmoebaNet, DARTS, SNAS; then reduction cells.
    widths = ((5, 5), (5, 4), (4, 3.5), (4, 4), (5, 3.5), (4, 2.5), (4, 0), (4, 4.5))
    tails = [float(f"{census(nodes).tail(width):.2g}") for nodes, width in widths]
    assert tails == [0.002, 0.11, 0.12, 0.018, 0.3, 0.7, 1, 0]


@pytest.mark.parametrize("pairs", ["ordered", "unordered", "distinct"])
@pytest.mark.parametrize("concat", [None, (3, 4)])
def test_three_nodes_against_the_graphs_themselves(concat: tuple[int, ...] | None, pairs: str):
    wanted = {
        "ordered": lambda a, b: True,
        "unordered": lambda a, b: a <= b,
        "distinct": lambda a, b: a != b,
    }[pairs]
    choices = [
        [pair for pair in itertools.product(range(k), repeat=2) if wanted(*pair)] for k in (2, 3, 4)
    ]
    cells = [
        Cell(
            tuple(tuple(Edge("skip_connect", source) for source in pair) for pair in picked),
            concat or (2, 3, 4),
        )
        for picked in itertools.product(*choices)
    ]
    assert census(3, concat, pairs) == Census(
        patterns=len(cells),
        shapes=dict(Counter((c.width, c.depth) for c in cells)),
    )


def test_the_sampler_draws_shapes_as_often_as_they_are():
    counted, draws = census(4), 4000
    normal, _ = draw_sources(named("DARTS"), range(1, draws + 1))
    batch = ConnectionBatch.like(named("DARTS").normal, normal)
    drawn = Counter(zip(batch.widths.tolist(), batch.depths.tolist(), strict=True))
    shares = np.array([count / counted.patterns for count in counted.shapes.values()])
    counts = np.array([drawn[shape] for shape in counted.shapes])
    errors = np.sqrt(draws * shares * (1 - shares))
    assert counts.sum() == draws
    assert (abs(counts - draws * shares) < 5 * errors + 1).all()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((0,), "use 1 to 6"),
        ((7,), "use 1 to 6"),
        ((4, ()), "concat"),
        ((4, (6,)), "from 2 to 5"),
        ((4, None, "any"), "ordered"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments: tuple, hint: str):
    with pytest.raises(SpecError, match=hint):
        census(*arguments)
