"""The figure of bounds: which points are drawn, and that nothing in it is markup."""

from typing import Any

import numpy as np
import pytest

from orchestrator.paper.bounds import MOST, bounds_data, plot_bounds
from results_schema.errors import ConfigError
from workers.theory.checks import Comparison


def cases(measured: Any, bound: Any, statement="Theorem 4.3", setting="quadratic") -> Comparison:
    left, right = np.asarray(measured, float), np.asarray(bound, float)
    return Comparison(statement, setting, True, left, right, np.zeros(len(left), np.int64))


def test_a_statement_is_a_panel_and_an_objective_a_series():
    data = bounds_data([cases([1], [2]), cases([1], [2], setting="linear"), cases([1], [2], "x")])
    assert [panel.statement for panel in data.panels] == ["Theorem 4.3", "x"]
    assert [line.setting for line in data.panels[0].series] == ["quadratic", "linear"]


def test_what_a_logarithm_lacks_is_counted_and_not_drawn():
    [panel] = bounds_data([cases([0, 1, np.inf, np.nan, 3], [1, 2, 3, 4, 1])]).panels
    assert (panel.cases, panel.violations) == (5, 3)
    assert panel.series[0].measured.tolist() == [1, 3]
    assert panel.series[0].violated.tolist() == [False, True]


def test_a_few_violations_among_many_cases_are_all_drawn():
    measured = np.ones(10 * MOST)
    measured[:: 2 * MOST] = 5
    [panel] = bounds_data([cases(measured, np.full(10 * MOST, 2.0))]).panels
    assert len(panel.series[0].measured) == MOST
    assert panel.series[0].violated.sum() == panel.violations == 5


def test_nothing_to_draw_is_told():
    with pytest.raises(ConfigError, match="above 0"):
        bounds_data([cases([0], [1])])


def test_names_are_escaped_and_a_point_above_the_line_is_marked():
    evil = "<script>alert(1)</script>"
    figure: Any = plot_bounds(bounds_data([cases([3, 1], [1, 2], evil, evil)]), evil)
    text = figure.to_json() or ""
    assert "<script>" not in text.replace("\\u003c", "<")
    crosses = [t for t in figure.data if t.marker.symbol == "x" and t.x[0] is not None]
    assert [(list(t.x), list(t.y)) for t in crosses] == [([1.0], [3.0])]


def test_panels_of_one_number_have_a_range():
    figure: Any = plot_bounds(bounds_data([cases([1], [1])]), "x")
    low, high = figure.layout.xaxis.range
    assert low < 0 < high
