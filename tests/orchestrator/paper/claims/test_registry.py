"""All claims at once, on stores that hold little or odd things."""

import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.paper.claims import CLAIMS, findings
from results_schema.results import Results
from results_schema.store import open_store


@pytest.mark.parametrize("kind", ["operations", "adapted", "diverged", "nothing"])
def test_whatever_has_ended_first_every_claim_says_something(tmp_path, kind):
    some = {
        "operations": [t for t in synthetic_trials(connections=None, operations=True) if t.index],
        "adapted": synthetic_trials(bases=("DARTS_ADAPT", "SNAS_ADAPT"), connections=None),
        "diverged": synthetic_trials(bases=("DARTS",)),
        "nothing": [],
    }[kind]
    synthetic_store(
        tmp_path / "s", some, lambda t: curve(0.3), diverged=lambda t: kind == "diverged"
    )
    told = findings(Results(tmp_path / "s"))
    assert {one.claim for one in told} == {claim.id for claim in CLAIMS}
    assert all(one.verdict and one.reading for one in told)


def test_an_empty_store_says_what_would_fill_it(tmp_path):
    told = findings(Results(open_store(tmp_path / "empty")))
    lacking = [one for one in told if one.verdict == "no data"]
    assert lacking and all(one.reading.startswith("needs ") for one in lacking)
