"""Cells drawn as graphs."""

from itertools import combinations
from typing import Any

import numpy as np
import pytest
from figure_parts import texts, traces

from orchestrator.figures.topology import Topology, lay_out_cells
from orchestrator.figures.topology_drawing import (
    NODE,
    SQUARE,
    PlacedCell,
    arrange_cells,
    plot_cells,
    short_name,
)
from workers.cells.bases import NAMES, named, zoo, zoo_genotype
from workers.cells.operations import OPERATIONS
from workers.cells.variants import connection_variants

CELLS = [
    (f"{name} {kind}", getattr(named(name), kind))
    for name in NAMES
    for kind in ("normal", "reduce")
]
CELLS += [(v.name, v.genotype.normal) for v in connection_variants("AmoebaNet", "paper13")]
CELLS += [(name, zoo_genotype(name).normal) for name in list(zoo())[::8]]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "labelled"])
def page(request: pytest.FixtureRequest) -> tuple[list[PlacedCell], float]:
    """All cells on a page, with space of 40 pixels above and of 20 below, and its height."""
    return arrange_cells(lay_out_cells(CELLS), above=40, below=20, labels=request.param)


def one(name: str) -> Topology:
    return lay_out_cells([(name, named(name).normal)])[0]


def lines(topologies: list[Topology]) -> list[dict[str, Any]]:
    """The traces of edges without their heads."""
    return [t for t in traces(plot_cells(topologies)) if "dash" in t.get("line", {})]


def distance(placed: PlacedCell, node: int, points: Any) -> Any:
    """From a node's rim, in pixels; negative within."""
    shown = placed.topology.nodes[node]
    away = points - placed.at(shown.x, shown.y)
    if shown.kind == "node":
        return abs(away) - NODE / 2
    return np.maximum(abs(np.real(away)), abs(np.imag(away))) - SQUARE / 2


def test_what_does_not_reach_the_output_is_distinguished():
    topology = one("AmoebaNet_ADAPT")
    assert [node.label for node in topology.nodes if not node.live] == ["2", "3"]
    assert {edge.target for edge in topology.edges if not edge.live} == {2, 3}
    assert (topology.width, topology.width_all_nodes) == (3, 5)
    assert [line["line"]["dash"] for line in lines([topology])].count("dot") == 1
    assert "dot" not in [line["line"]["dash"] for line in lines([one("DARTS")])]


def test_arrows_run_from_rim_to_rim(page: tuple[list[PlacedCell], float]):
    for placed in page[0]:
        for _, edge, line, head in placed.arrows():
            assert -0.1 < distance(placed, edge.source, line[0]) < 2
            assert 0.8 < distance(placed, edge.target, head[0]) < 1.2
            assert distance(placed, edge.target, line[-1]) > 2
            others = set(range(len(placed.topology.nodes))) - {edge.source, edge.target}
            assert all((distance(placed, node, line) > 0).all() for node in others)


def test_parallel_edges_keep_apart(page: tuple[list[PlacedCell], float]):
    apart = []
    for placed in page[0]:
        for a, b in combinations(placed.arrows(), 2):
            if (a.edge.source, a.edge.target) == (b.edge.source, b.edge.target):
                apart.append(abs(b.line - a.line[len(a.line) // 2]).min())
    assert len(apart) > 20
    assert min(apart) > 5


def test_everything_stays_on_the_page_and_apart(page: tuple[list[PlacedCell], float]):
    cells, height = page
    boxes = []
    for placed in cells:
        nodes = [placed.at(node.x, node.y) for node in placed.topology.nodes]
        drawn = [part for arrow in placed.arrows() for part in (arrow.line, arrow.head)]
        points = np.concatenate([nodes, *drawn])
        xs, ys = np.real(points), np.imag(points)
        boxes.append((min(xs), max(xs), min(ys), placed.top))
        assert 10 < min(xs) < max(xs) < 710
        assert 20 < min(ys) < max(ys) < placed.top - 20 < height - 40
    for a, b in combinations(boxes, 2):
        assert a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]


def test_a_title_has_width_depth_and_the_width_over_all_nodes():
    cells = [("DARTS", named("DARTS").normal), ("<b>mine</b>", named("ENAS_ADAPT").reduce)]
    figure = plot_cells(lay_out_cells(cells), title="A < B")
    assert texts(figure)[:3] == [
        "<b>A &lt; B</b>",
        "DARTS (3.5c, 3)",
        "&lt;b&gt;mine&lt;/b&gt; (3c, 2; all nodes 5c)",
    ]


def test_operations_are_shown_by_hovering_and_written_if_asked_for():
    topologies = lay_out_cells([("DARTS", named("DARTS").normal)])
    plain, labelled = (plot_cells(topologies, labels=on) for on in (False, True))
    hovers = {text for line in lines(topologies) for text in line["text"]}
    assert "2 → 5: dil_conv_3x3" in hovers
    assert "5 → c<sub>k</sub>: concatenated" in hovers
    written = texts(labelled)
    assert [written.count(text) for text in ("sep 3×3", "skip", "dil 3×3")] == [5, 2, 1]
    assert "sep 3×3" not in texts(plain)


def test_short_names_differ():
    names = [short_name(op) for op in OPERATIONS]
    assert names[:4] == ["max 3×3", "avg 3×3", "skip", "sep 3×3"]
    assert short_name("conv_7x1_1x7") == "7×1, 1×7"
    assert len(set(names)) == len(OPERATIONS)
