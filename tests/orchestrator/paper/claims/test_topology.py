"""Claims about cells that need no store."""

import pytest

from orchestrator.paper.claims import findings
from results_schema.results import Results
from results_schema.store import open_store


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    store = open_store(tmp_path_factory.mktemp("empty") / "store")
    return {(one.claim, one.measure): one for one in findings(Results(store))}


def test_the_popular_cells_are_wide(told):
    found = told["popular-widest", "width over all nodes"]
    assert (found.verdict, found.cells) == ("supported", 5)
    # Tails as counted by hand over ordered sources.
    for tail in ("NASNet 0.00198", "AmoebaNet 0.106", "DARTS 0.124", "SNAS 0.0178"):
        assert tail in found.reading
    assert 0.9 < found.low < found.size <= found.high <= 1


def test_their_reduction_cells_and_other_searches_cells_are_not(told):
    for claim in ("popular-widest-reduction", "popular-widest-zoo"):
        assert told[claim, "width over all nodes"].verdict == "undecided"
    assert told["popular-widest-zoo", "width over all nodes"].cells > 50


def test_tables(told):
    claims = {claim: one for (claim, _), one in told.items()}
    assert claims["depth-falls-with-width"].verdict == "supported"
    assert "DARTS 30.3 %" in claims["sizes-differ"].reading
    assert claims["sizes-differ"].size == pytest.approx(0.315, abs=0.001)


def test_adapted_networks_are_compared_by_what_reaches_their_output(told):
    found = [one for (claim, _), one in told.items() if claim == "adapted-sizes"]
    live, every = sorted(found, key=lambda one: not one.primary)
    assert live.size == pytest.approx(0.943, abs=0.001)
    assert live.verdict == "undecided"
    assert "AmoebaNet 0.771" in live.reading
    assert (every.primary, every.verdict) == (False, "supported")
    assert every.size == pytest.approx(1.009, abs=0.001)


def test_all_else_is_no_data(told):
    free = {"popular-widest", "popular-widest-reduction", "popular-widest-zoo"}
    free |= {"depth-falls-with-width", "adapted-sizes", "sizes-differ"}
    rest = {claim: one for (claim, _), one in told.items() if claim not in free}
    assert len(rest) > 20
    assert {one.verdict for one in rest.values()} == {"no data"}
    assert all(one.reading.startswith("needs ") for one in rest.values())
