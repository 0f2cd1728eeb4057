"""Claims about cells that need no store."""

import math

import pytest

from orchestrator.paper.claims import findings
from results_schema.results import Results
from results_schema.store import open_store


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("empty") / "store")
    return {one.claim: one for one in findings(Results(store)) if one.primary}


def test_the_popular_cells_are_wide(found):
    one = found["popular-widest"]
    assert (one.verdict, one.cells) == ("supported", 5)
    # Shares of the space as counted by hand over ordered sources.
    for share in ("NASNet 0.00198", "AmoebaNet 0.106", "DARTS 0.124", "SNAS 0.0178"):
        assert share in one.reading
    assert 0.9 < one.low < one.size < one.high <= 1


def test_their_reduction_cells_and_the_cells_of_other_searches_are_not(found):
    assert found["popular-widest-reduction"].verdict == "inconclusive"
    assert found["popular-widest-reduction"].p == pytest.approx(0.086, abs=0.001)
    assert found["popular-widest-zoo"].verdict == "no relevant effect"
    assert found["popular-widest-zoo"].cells > 50


def test_facts_are_counted_and_bear_no_verdict(found):
    facts = [found[name] for name in ("depth-falls-with-width", "sizes-differ", "adapted-sizes")]
    assert {one.verdict for one in facts} == {"counted"}
    assert all(math.isnan(one.p) for one in facts)
    depth, sizes, adapted = facts
    assert depth.size > 0.5
    assert "DARTS 30.3 %" in sizes.reading
    assert sizes.size == pytest.approx(31.5, abs=0.1)
    # Of parameters on a path to the output; of all parameters the ratio is 1.
    assert "AmoebaNet 0.771" in adapted.reading
