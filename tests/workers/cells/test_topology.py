import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.genotype import Cell, Edge, Genotype
from workers.cells.bases import NAMES, named
from workers.cells.connections import sample_connections
from workers.cells.topology import (
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
    "AmoebaNet_ADAPT": ((5, 2, 5, 3), (5, 2, 5, 3)),
    "ENAS": ((5, 2, 5, 5), (4, 4, 3, 4)),
    "ENAS_ADAPT": ((5, 2, 5, 5), (5, 2, 5, 3)),
    "DARTS": ((3.5, 3, 3, 3.5), (2.5, 3, 1, 2.5)),
    "DARTS_ADAPT": ((4, 2, 4, 4), (4, 2, 4, 4)),
    "SNAS": ((4, 2, 4, 4), (2.5, 3, 1, 2.5)),
    "SNAS_ADAPT": ((4, 2, 4, 4), (4, 2, 4, 4)),
}


def shape(cell: Cell) -> tuple[float, int, float, float]:
    return cell.width_all_nodes, cell.depth, early_width(cell), cell.width


def cell(*sources: tuple[int, ...], concat: tuple[int, ...]) -> Cell:
    return Cell(tuple(tuple(Edge("skip_connect", s) for s in node) for node in sources), concat)


@pytest.mark.parametrize("name", SHAPES)
def test_shapes_of_the_bases_and_adapted_cells(name: str):
    genotype = named(name)
    assert (shape(genotype.normal), shape(genotype.reduce)) == SHAPES[name]


def test_early_width_of_amoebanet_variants_in_the_earlier_figure_10():
    variants = [sample_connections(named("AmoebaNet"), seed).normal for seed in (1, 2, 3, 4)]
    assert [(early_width(v), v.depth) for v in variants] == [(2, 5), (1, 6), (2, 4), (3, 3)]


def test_early_width_of_snas_variants():
    variants = [sample_connections(named("SNAS"), seed).normal for seed in (1, 2, 3, 4)]
    assert [(early_width(v), v.depth) for v in variants] == [(2, 4), (1, 5), (2, 3), (3, 3)]


def test_the_third_and_fourth_published_variants_of_darts_never_use_the_first_input():
    assert [used_inputs(named(f"DARTS_CONN{i}").normal) for i in range(1, 5)] == [
        (0, 1),
        (0, 1),
        (1,),
        (1,),
    ]


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
    revived = reconcat(named("AmoebaNet_ADAPT"))
    assert revived.normal.concat == (2, 3, 4, 5, 6)
    assert revived.normal.width == 5
    # Node 2 stays out of concat, as it feeds others; node 5 feeds none.
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


@given(st.integers(0, 2**32 - 1))
def test_the_three_widths_are_ordered_and_cover_agrees_with_width(seed: int):
    graph = sample_connections(named("DARTS"), seed).normal
    assert early_width(graph) <= graph.width == graph.width_all_nodes
    assert input_share(graph) == graph.width / len(graph.nodes)


def test_reconcat_works_on_both_cells():
    loose = cell((0, 1), (0, 1), concat=(2,))
    whole = cell((0, 1), concat=(2,))
    assert reconcat(Genotype(whole, loose)) == Genotype(whole, cell((0, 1), (0, 1), concat=(2, 3)))
