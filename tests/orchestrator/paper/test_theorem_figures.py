"""Figures of the theory: which numbers stand where, and that no name in them is markup."""

from typing import Any

import numpy as np
import pytest
from figure_parts import plot, texts, traces
from small_theory import measured_frames

from orchestrator.paper.theorem_figures import (
    MOST,
    bounds_data,
    plot_bounds,
    theory_cells_data,
)
from results_schema.errors import ConfigError
from workers.theory.checks import Comparison


def cases(measured: Any, bound: Any, statement="Theorem 4.3", setting="quadratic") -> Comparison:
    left, right = np.asarray(measured, float), np.asarray(bound, float)
    return Comparison(statement, setting, True, left, right)


def test_a_statement_is_a_panel_and_an_objective_a_series():
    data = bounds_data([cases([1], [2]), cases([1], [2], setting="linear"), cases([1], [2], "x")])
    assert [panel.statement for panel in data] == ["Theorem 4.3", "x"]
    assert [line.setting for line in data[0].series] == ["quadratic", "linear"]


def test_what_a_logarithm_lacks_is_counted_and_not_drawn():
    [panel] = bounds_data([cases([0, 1, np.inf, np.nan, 3], [1, 2, 3, 4, 1])])
    assert (panel.cases, panel.violations) == (5, 3)
    assert panel.series[0].measured.tolist() == [1, 3]
    assert panel.series[0].violated.tolist() == [False, True]
    with pytest.raises(ConfigError, match="above 0"):
        bounds_data([cases([0], [1])])


def test_a_few_violations_among_many_cases_are_all_drawn():
    measured = np.ones(10 * MOST)
    measured[:: 2 * MOST] = 5
    [panel] = bounds_data([cases(measured, np.full(10 * MOST, 2.0))])
    assert len(panel.series[0].measured) == MOST
    assert panel.series[0].violated.sum() == panel.violations == 5


def test_names_are_escaped_and_a_point_above_the_line_is_marked():
    evil = "<script>alert(1)</script>"
    figure: Any = plot_bounds(bounds_data([cases([3, 1], [1, 2], evil, evil)]), evil)
    text = figure.to_json() or ""
    assert "<script>" not in text.replace("\\u003c", "<")
    crosses = [t for t in figure.data if t.marker.symbol == "x" and t.x[0] is not None]
    assert [(list(t.x), list(t.y)) for t in crosses] == [([1.0], [3.0])]
    figure = plot_bounds(bounds_data([cases([1], [1])]), "a single number has a range, too")
    low, high = figure.layout.xaxis.range
    assert low < 0 < high


def drawn(members):
    return plot("theorem_bounds", measured_frames(members)).to_dict()


def test_each_panel_has_its_number_of_each_cell(make_member):
    figure = drawn([make_member("DARTS", index) for index in (0, 1, 2)])
    smoothness, variance, bound, measured = figure["data"]
    assert list(smoothness["x"]) == ["DARTS", "C1", "C2"]
    assert list(smoothness["y"]) == [10, 20, 40]
    # Of a batch out of all images, so less than that of one image.
    assert variance["y"][0] < 4
    assert variance["y"][2] == pytest.approx(4 * variance["y"][0])
    assert list(measured["y"]) == [4, 4, 4]
    assert bound["y"][0] < bound["y"][1] < bound["y"][2]
    assert (bound["name"], measured["name"]) == ("bound", "measured")
    assert (bound["xaxis"], measured["xaxis"]) == ("x3", "x3")
    assert figure["layout"]["yaxis3"]["type"] == "log"


def test_cells_of_several_bases_are_distinguished_and_names_are_not_obeyed(make_member):
    members = [make_member(base, index) for base in ("ENAS", "<b>x</b>") for index in (0, 1)]
    figure = drawn(members)
    assert list(figure["data"][0]["x"]) == [
        "ENAS", "ENAS C1", "&lt;b&gt;x&lt;/b&gt;", "&lt;b&gt;x&lt;/b&gt; C1",
    ]  # fmt: skip
    assert "<b>x" not in str(figure["data"])
    assert figure["layout"]["xaxis"]["domain"][1] < 0.4
    many = drawn([make_member("DARTS", index) for index in range(14)])
    assert many["layout"]["xaxis"]["domain"] == [0, 1], "many cells have the whole width"


def test_what_was_not_measured_is_left_out_and_nothing_at_all_is_an_error(make_member):
    frames = measured_frames([make_member("DARTS", 0), make_member("DARTS", 1)])
    surfaces: Any = frames["surfaces"]
    frames["surfaces"] = surfaces[
        ~((surfaces["index"] == 1) & (surfaces["kind"] == "gradient_variance"))
    ]
    shown = plot("theorem_bounds", frames).to_dict()["data"]
    assert [list(trace["x"]) for trace in shown] == [["DARTS", "C1"], ["DARTS"], ["DARTS"],
                                                     ["DARTS", "C1"]]  # fmt: skip
    frames["surfaces"] = surfaces.iloc[:0]
    frames["metrics"] = frames["metrics"].iloc[:0]
    with pytest.raises(ConfigError, match="curvature or gradient variance"):
        plot("theorem_bounds", frames)


@pytest.mark.parametrize("nodes", [2, 3, 9])
def test_one_cell_is_the_widest_and_the_other_the_narrowest(nodes):
    wide, narrow = theory_cells_data(nodes=nodes)
    assert (wide.width, wide.depth) == (nodes, 2)
    assert (narrow.width, narrow.depth) == (1, nodes + 1)
    for cell in (wide, narrow):
        z = nodes + 1
        into = {(e.source, e.target) for e in cell.edges}
        assert {(i, z) for i in range(1, z)} < into
        assert [e.op for e in cell.edges if e.op.startswith("W")][:2] == ["W⁽¹⁾", "W⁽²⁾"]
    assert [e.source for e in wide.edges[:nodes]] == [0] * nodes
    assert [(e.source, e.target) for e in narrow.edges[:nodes]] == [
        (i, i + 1) for i in range(nodes)
    ]


def test_nodes_and_matrices_are_named_in_the_drawing():
    figure = plot("theory_cells", {}, nodes=4)
    assert {"W⁽⁴⁾", "Case II, narrowest (1c, 5)"} <= set(texts(figure))
    [nodes] = traces(figure, mode="markers+text")
    assert {"x", "y⁽¹⁾", "y\u0302⁽⁴⁾", "z\u0302", "l"} <= set(nodes["text"])
