"""Cells drawn as graphs."""

import math
from itertools import combinations
from typing import Any

import pytest

from orchestrator.figures.topology import Topology, lay_out_cells
from orchestrator.figures.topology_drawing import (
    NODE,
    SQUARE,
    PlacedCell,
    arrange_cells,
    plot_cells,
    short_name,
)
from results_schema.genotype import OPERATIONS, Cell
from workers.cells.bases import NAMES, named, zoo, zoo_genotype
from workers.cells.variants import connection_variants

CELLS = [
    (f"{name} {kind}", getattr(named(name), kind))
    for name in NAMES
    for kind in ("normal", "reduce")
]
CELLS += [(v.name, v.genotype.normal) for v in connection_variants("AmoebaNet", "paper13")]
CELLS += [(name, zoo_genotype(name).normal) for name in zoo()]


def place_all(cells: list[tuple[str, Cell]], *, labels: bool = False) -> tuple[PlacedCell, ...]:
    return arrange_cells(lay_out_cells(cells), above=0, below=0, labels=labels).cells


def one(name: str) -> Topology:
    return lay_out_cells([(name, named(name).normal)])[0]


def lines(topologies: list[Topology]) -> list[dict[str, Any]]:
    """The traces of edges without their heads."""
    data = plot_cells(topologies).to_dict()["data"]
    return [trace for trace in data if "dash" in trace.get("line", {})]


def distance(placed: PlacedCell, node: int, point: tuple[float, float]) -> float:
    """From a node's rim, in pixels."""
    shown = placed.topology.nodes[node]
    x, y = placed.at((shown.x, shown.y))
    x, y = abs(point[0] - x), abs(point[1] - y)
    return math.hypot(x, y) - NODE / 2 if shown.kind == "node" else max(x, y) - SQUARE / 2


def test_what_does_not_reach_the_output_is_distinguished():
    topology = one("AmoebaNet_ADAPT")
    assert [node.label for node in topology.nodes if not node.live] == ["2", "3"]
    assert {edge.target for edge in topology.edges if not edge.live} == {2, 3}
    assert (topology.width, topology.width_all_nodes) == (3, 5)
    assert [line["line"]["dash"] for line in lines([topology])].count("dot") == 1
    assert "dot" not in [line["line"]["dash"] for line in lines([one("DARTS")])]


@pytest.mark.parametrize("labels", [False, True])
def test_arrows_run_from_rim_to_rim(labels: bool):
    for placed in place_all(CELLS, labels=labels):
        for edge, arrow in zip(placed.topology.edges, placed.arrows(), strict=True):
            assert -0.1 < distance(placed, edge.source, arrow.line[0]) < 2
            assert 0.8 < distance(placed, edge.target, arrow.head[0]) < 1.2
            assert distance(placed, edge.target, arrow.line[-1]) > 2
            others = set(range(len(placed.topology.nodes))) - {edge.source, edge.target}
            assert all(distance(placed, n, p) > 0 for n in others for p in arrow.line)


def test_parallel_edges_keep_apart():
    apart = []
    for placed in place_all(CELLS):
        drawn = list(zip(placed.topology.edges, placed.arrows(), strict=True))
        for (a, one), (b, two) in combinations(drawn, 2):
            if (a.source, a.target) == (b.source, b.target):
                middle = one.line[len(one.line) // 2]
                apart.append(min(math.dist(middle, point) for point in two.line))
    assert len(apart) > 20
    assert min(apart) > 5


@pytest.mark.parametrize("labels", [False, True])
def test_everything_stays_on_the_page_and_apart(labels: bool):
    topologies = lay_out_cells(CELLS)
    page = arrange_cells(topologies, above=40, below=20, labels=labels)
    boxes = []
    for placed in page.cells:
        points = [p for arrow in placed.arrows() for p in (*arrow.line, *arrow.head)]
        points += [placed.at((node.x, node.y)) for node in placed.topology.nodes]
        xs, ys = zip(*points, strict=True)
        boxes.append((min(xs), max(xs), min(ys), max(ys), placed.top))
        assert min(xs) > 10
        assert max(xs) < 710
        assert 20 < min(ys) < max(ys) < placed.top - 20 < page.height - 40
    for a, b in combinations(boxes, 2):
        assert a[1] < b[0] or b[1] < a[0] or a[4] < b[2] or b[4] < a[2]


def test_a_title_has_width_depth_and_the_width_over_all_nodes():
    cells = [("DARTS", named("DARTS").normal), ("<b>mine</b>", named("ENAS_ADAPT").reduce)]
    figure = plot_cells(lay_out_cells(cells), title="A < B")
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts[:3] == [
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
    written = [a.text for a in labelled.layout.annotations]
    assert [written.count(text) for text in ("sep 3×3", "skip", "dil 3×3")] == [5, 2, 1]
    assert "sep 3×3" not in [a.text for a in plain.layout.annotations]


def test_short_names_differ():
    names = [short_name(op) for op in OPERATIONS]
    assert names[:4] == ["max 3×3", "avg 3×3", "skip", "sep 3×3"]
    assert short_name("conv_7x1_1x7") == "7×1, 1×7"
    assert len(set(names)) == len(OPERATIONS)
