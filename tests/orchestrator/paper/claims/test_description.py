"""Verdicts, and how findings read."""

import math
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.paper.claims import Finding, description
from orchestrator.paper.claims.claim import judge
from orchestrator.paper.claims.forest import plot_forest

FOUND = Finding(
    "wider-faster", "Wider cells converge faster.", "Section 4.1", "convergence", "an area",
    "ρ with width", size=0.4, low=0.1, high=0.6, null=0.0, smallest=0.3, p=0.01, least_p=0.0,
    cells=52, trials=52, data="cifar10", paper_datasets=("cifar10",), groups=("DARTS cifar10",),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({}, "supported"),
        ({"size": -0.4, "low": -0.6, "high": -0.1}, "contradicted"),
        ({"size": 0.0, "low": -0.2, "high": 0.2, "p": 0.9}, "no relevant effect"),
        ({"size": 0.1, "low": -0.2, "high": 0.4, "p": 0.4}, "inconclusive"),
        ({"size": 0.1, "low": -0.4, "high": 0.2, "p": 0.4}, "inconclusive"),
        ({"least_p": 0.06, "p": 0.06}, "not testable"),
        ({"substitute": True, "data": "digits"}, "not testable"),
        ({"size": 1.1, "low": 0.9, "high": 1.3, "null": 1.0, "smallest": 3.0, "p": 0.3,
          "scale": "odds"}, "no relevant effect"),
        ({"size": 1.1, "low": 0.3, "high": 1.3, "null": 1.0, "smallest": 3.0, "p": 0.3,
          "scale": "odds"}, "inconclusive"),
        ({"size": 1.1, "low": 1.05, "high": 1.2, "null": 1.25, "smallest": math.nan,
          "scale": "ratio", "equality": True}, "supported"),
        ({"size": 2.0, "low": 1.5, "high": 3.0, "null": 1.25, "smallest": math.nan,
          "scale": "ratio", "equality": True}, "contradicted"),
        ({"primary": False}, ""),
        ({"verdict": "no data"}, "no data"),
    ],
)  # fmt: skip
def test_verdicts(changes, verdict):
    [one] = judge([replace(FOUND, **changes)])
    assert one.verdict == verdict


def test_a_family_is_corrected_together_but_for_what_cannot_be_tested():
    found = judge(
        [
            replace(FOUND, p=0.02, finder=lambda level, power, times: level),
            replace(FOUND, claim="b", p=0.03),
            replace(FOUND, claim="c", least_p=0.1, p=0.2),
            replace(FOUND, claim="d", primary=False, p=0.001),
            replace(FOUND, claim="e", substitute=True, p=0.04),
            replace(FOUND, claim="f", family="other", p=0.04),
        ]
    )
    first, second, untested, explored, substitute, other = found
    assert (first.p_holm, second.p_holm) == pytest.approx((0.04, 0.04))
    assert first.detectable == pytest.approx(0.025)
    assert math.isnan(untested.p_holm) and math.isnan(explored.p_holm)
    assert (substitute.verdict, other.verdict) == ("not testable", "supported")


def test_an_interval_without_0_that_fails_the_correction_reads_so():
    found = judge([replace(FOUND, claim=str(i), p=0.03) for i in range(2)])
    assert [one.verdict for one in found] == ["inconclusive"] * 2
    assert "p = 0.03 before correction" in found[0].reading


def test_a_page_reads_as_documented():
    found = judge(
        [
            FOUND,
            replace(FOUND, primary=False, measure="another", p=0.2),
            replace(FOUND, claim="b", size=0.04, low=-0.11, high=0.19, p=0.61),
            replace(FOUND, claim="c", verdict="no data", reading="needs more", size=math.nan),
        ]
    )
    shown = description.bears_on(found)
    assert [one.claim for one in shown] == ["wider-faster", "wider-faster", "b"]
    assert "\n".join(description.text(shown)) == (
        "2 of 2 claims about trials have data: 1 supported, 1 no relevant effect.\n"
        "One entry each: main measure, 95 % interval without correction, p after Holm over the "
        "family. │ is no effect.\n"
        "\n"
        "convergence (2 claims corrected together)\n"
        "  SUPPORTED        Wider cells converge faster.  [wider-faster]\n"
        "                          │──●─     +0.40 [+0.10, +0.60] p = .020, 52 cells\n"
        "          ρ with width; an area\n"
        "          on cifar10\n"
        "          1 of 1 other measure points the same way (--claim wider-faster lists them)\n"
        "  NO RELEVANT      Wider cells converge faster.  [b]\n"
        "  EFFECT                 ─●─        +0.04 [−0.11, +0.19] p = .61, 52 cells; smallest "
        "effect of interest: +0.30\n"
        "          ρ with width; an area\n"
        "          on cifar10"
    )
    page = "\n".join(description.page(found[:2]))
    assert "of interest +0.30" in page
    assert "exploratory: no verdict" in page


def test_effects_are_drawn_on_their_own_scales():
    odds = replace(FOUND, scale="odds", size=3.0, low=0.5, high=math.inf, null=1.0)
    places = [description.position(odds, value) for value in (0.0, 1.0, 3.0, math.inf)]
    assert places[0] == 0 and places[1] == 0.5 and 0.5 < places[2] < places[3] == 1
    assert description.interval(odds) == "3 [0.5, ∞]"
    points = replace(FOUND, scale="points", size=2.0, low=-1.0, high=4.0)
    assert [description.position(points, value) for value in (-4, 0, 4)] == [0, 0.5, 1]


def test_the_forest_has_a_row_for_each_claim_with_an_interval():
    found = judge([FOUND, replace(FOUND, claim="<b>", verdict="no data", low=math.nan)])
    figure: Any = plot_forest(found)
    assert figure is not None
    marks = [trace for trace in figure.data if trace.mode == "markers"]
    assert [trace.x for trace in marks] == [(0.7,), (None,)]
    assert [trace.name for trace in marks if trace.name] == [found[0].verdict]
    assert plot_forest([]) is None


def test_where_no_claim_bears_a_line_says_how_to_state_one():
    [line] = description.text([])
    assert "No claim bears on these experiments" in line
    assert "claims: {" in line


def test_a_study_with_claims_of_its_own_sees_those_and_what_bears_on_the_papers_data():
    own = replace(FOUND, claim="small:mine", stated=True, verdict="no data")
    on_substitutes = replace(FOUND, claim="b", substitute=True)
    of_cells = replace(FOUND, claim="c", trials=0)
    none = replace(FOUND, claim="d", verdict="no data", trials=0)
    shown = description.bears_on([own, FOUND, on_substitutes, of_cells, none], untested=True)
    assert [one.claim for one in shown] == ["small:mine", "wider-faster"]
    paper = description.bears_on([FOUND, on_substitutes, of_cells, none], untested=True)
    assert [one.claim for one in paper] == ["wider-faster", "b", "c", "d"]
