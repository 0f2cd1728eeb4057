"""Genotypes: what is refused and how it is said, width and depth, JSON there and back."""

import json
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge, Genotype

NAMES = ["sep_conv_3x3", "skip_connect", "noise", "of_a_plugin"]
CHAIN = [[["skip_connect", 1]], [["skip_connect", 2]], [["skip_connect", 3]]]


@st.composite
def cells(draw: st.DrawFn) -> Cell:
    """Any valid cell of up to six nodes, each with none to five edges."""
    nodes = [
        draw(
            st.lists(st.builds(Edge, st.sampled_from(NAMES), st.integers(0, node - 1)), max_size=5)
        )
        for node in range(INPUTS, INPUTS + draw(st.integers(1, 6)))
    ]
    intermediate = list(range(INPUTS, INPUTS + len(nodes)))
    concat = draw(st.lists(st.sampled_from(intermediate), min_size=1, unique=True))
    return Cell(tuple(tuple(edges) for edges in nodes), tuple(concat))


@settings(max_examples=25)
@given(cells())
def test_json_brings_back_the_cell_whose_width_and_depth_its_nodes_bound(cell: Cell):
    genotype = Genotype(cell, Cell.from_json({"nodes": CHAIN, "concat": [2]}))
    assert Genotype.from_json(json.loads(json.dumps(genotype.to_json()))) == genotype
    assert 0 <= cell.width <= cell.width_all_nodes <= len(cell.nodes)
    assert 0 <= cell.depth <= cell.depth_all_nodes <= len(cell.nodes) + 1


def test_width_and_depth_of_a_few_cells():
    chain = Cell.from_json({"nodes": CHAIN, "concat": [2, 3, 4]})
    assert (chain.width, chain.depth) == (1, 4)
    assert Cell.from_json({"nodes": CHAIN, "concat": [2]}).depth == 2
    both = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    wide = Cell.from_json({"nodes": [both] * 4, "concat": [2, 3, 4, 5]})
    assert (wide.width, wide.depth) == (4, 2)
    # A node counts its share of edges from inputs, and nothing if it does not reach the output.
    half = [["skip_connect", 0], ["skip_connect", 2]]
    assert Cell.from_json({"nodes": [both, half], "concat": [2, 3]}).width == 1.5
    dead = Cell.from_json({"nodes": [both, both], "concat": [3]})
    assert (dead.live_nodes, dead.width, dead.width_all_nodes) == ({0, 1, 3}, 1, 2)
    shape = Genotype(dead, chain).shape
    assert shape == {"width": 1, "depth": 2, "width_all_nodes": 2, "depth_all_nodes": 2}
    # No input reaches node 2.
    fed = Cell.from_json({"nodes": [[], [["skip_connect", 2]]], "concat": [3]})
    assert (fed.depth, fed.depth_all_nodes) == (0, 2)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.randoms())
def test_the_width_of_nodes_of_three_edges_does_not_depend_on_their_order(counts, random):
    def cell(counts: list[int]) -> Cell:
        nodes = [[["skip_connect", 0]] * 3]
        nodes += [[["skip_connect", 0]] * n + [["skip_connect", 2]] * (3 - n) for n in counts]
        return Cell.from_json({"nodes": nodes, "concat": list(range(2, 2 + len(nodes)))})

    width = cell(counts).width
    assert width == cell(random.sample(counts, len(counts))).width
    assert width == float(1 + Fraction(sum(counts), 3))


SOURCES = st.integers().filter(lambda n: n not in (0, 1, 2)) | st.booleans() | st.floats()
ODD = st.none() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)


@given(
    SOURCES | ODD,
    st.sampled_from([None, ["skip_connect"], "sep conv", "../x"]),
    st.sampled_from(["normal", "reduce"]),
)
def test_a_bad_edge_is_named_with_its_cell_node_and_what_is_allowed(
    source: object, operation: object, name: str
):
    good = {"nodes": CHAIN, "concat": [2, 3, 4]}
    for edge, said in (
        (["skip_connect", source], [f"source {source!r}", "from 0 to 2"]),
        ([operation, 0], [f"{operation!r} is no operation"]),
    ):
        bad = good | {"nodes": [CHAIN[0], [["skip_connect", 0], edge], CHAIN[2]]}
        with pytest.raises(SpecError) as error:
            Genotype.from_json({"normal": good, "reduce": good} | {name: bad})
        assert error.value.where == f"{name} cell, node 3, edge 1"
        assert all(word in str(error.value) for word in said)


@given(SOURCES.filter(lambda n: isinstance(n, bool) or n not in (3, 4)) | ODD)
def test_a_bad_concat_is_named_with_the_nodes_allowed(node: object):
    for concat, said in (([node], f"names {node!r},"), ([], "empty"), ([2, 2], "repeats")):
        with pytest.raises(SpecError, match="from 2 to 4") as error:
            Cell.from_json({"nodes": CHAIN, "concat": concat})
        assert said in str(error.value)


def test_what_is_misshapen_is_refused():
    nodes = [3, "sep", [3], ["skip_connect"], [[3]], [["skip_connect", 0]], []]
    nodes += [[[["skip_connect"]]], [[["skip_connect", 0, 1]]]]
    cells = [{"nodes": value, "concat": [2]} for value in nodes]
    cells += [{"nodes": CHAIN, "concat": concat} for concat in (2, "2")]
    more = {"nodes": CHAIN, "concat": [2], "width": 1}
    for cell in (None, [], "cell", {}, {"nodes": CHAIN}, more, *cells):
        with pytest.raises(SpecError) as caught:
            Genotype.from_json({"normal": cell, "reduce": cell})
        assert caught.value.where.startswith("normal cell")
    for genotype in (None, [], {}, {"normal": {}}):
        with pytest.raises(SpecError, match="normal and reduce"):
            Genotype.from_json(genotype)
