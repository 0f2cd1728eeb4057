"""What is told of each cell."""

from typing import Any

import pytest

from orchestrator.config.grid import Base, find
from orchestrator.paper import printed
from orchestrator.paper.cell_rows import make_rows
from results_schema.errors import SpecError
from results_schema.genotype import Cell, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named


def rows(
    name: str, variants: str | None = None, operations: str | None = None, **how: Any
) -> list[dict[str, Any]]:
    size, how = how.pop("size", NetworkSpec()), {"classes": 10} | how
    return make_rows([find(name)], variants, operations, size, **how)


def test_width_and_depth_are_those_of_figure_1():
    for base in BASES:
        shape = rows(base, "none")[0]
        assert (shape["width"], shape["depth"]) == printed.FIGURE_1[base]
        assert (shape["early_width"], shape["depth"]) == printed.FIGURE_1_EARLIER[base]


def test_a_base_comes_before_its_variants():
    darts = rows("DARTS")
    assert [row["index"] for row in darts] == list(range(14))
    assert [row["name"] for row in darts[:4]] == ["DARTS", "CONN3", "CONN4", "seed 14"]
    assert {(row["base"], row["kind"]) for row in darts[1:]} == {("DARTS", "connections")}


@pytest.mark.parametrize(
    ("name", "variants", "operations", "count"),
    [
        ("SNAS", None, None, 5),
        ("NASNet_ADAPT", None, None, 1),
        ("zoo:SNAS", None, None, 1),
        ("DARTS", "none", None, 1),
        ("DARTS", "main_text", None, 5),
        ("DARTS", None, "paper10", 11),
        ("DARTS", "paper10", "legacy", 21),
        ("zoo:PDARTS", "uniform", "legacy", 21),
    ],
)
def test_as_many_variants_as_asked_for(name, variants, operations, count):
    assert len(rows(name, variants, operations)) == count


def test_what_is_unused_is_named_with_what_it_costs():
    conn3 = rows("DARTS")[1]
    assert conn3["unused_inputs"] == (0,)
    assert conn3["parameters"] - conn3["live_parameters"] == 601_776
    seed_4 = next(row for row in rows("AmoebaNet") if row["name"] == "seed 4")
    assert (seed_4["width"], seed_4["width_all_nodes"]) == (1.5, 3.5)
    assert seed_4["dead_nodes"] == (2, 3)
    assert seed_4["reduction_dead_nodes"] == (5,)


def test_the_network_is_as_large_as_asked_for():
    small, full = rows("DARTS", "none", size=NetworkSpec(8, 16))[0], rows("DARTS", "none")[0]
    assert small["parameters"] < full["parameters"] / 5
    head = rows("DARTS", "none", classes=100, auxiliary=True)[0]
    assert head["parameters"] == 3_946_908


def test_a_cell_of_ones_own_has_variants_too():
    one = Cell.from_json({"nodes": [[("sep_conv_3x3", 0), ("skip_connect", 1)]] * 2, "concat": [3]})
    own = Base("own", Genotype(one, named("DARTS").reduce))
    drawn = make_rows([own], "uniform", None, NetworkSpec(), classes=10)
    assert len(drawn) == 11
    assert drawn[0]["dead_nodes"] == (2,)
    with pytest.raises(SpecError, match="no connection variants 'paper13'"):
        make_rows([own], "paper13", None, NetworkSpec(), classes=10)
