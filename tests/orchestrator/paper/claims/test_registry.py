"""All claims at once, on stores that hold little or odd things."""

import numpy as np
import pandas as pd
import pytest
from synthetic_stores import curve, synthetic_store, synthetic_trials

from orchestrator.paper.claims import CLAIMS, findings
from results_schema import layout
from results_schema.errors import CorruptData
from results_schema.results import Results


@pytest.mark.parametrize("kind", ["operations", "adapted", "diverged", "nothing"])
def test_whatever_has_ended_first_every_claim_has_a_finding(tmp_path, kind):
    some = {
        "operations": [t for t in synthetic_trials(connections=None, operations=True) if t.index],
        "adapted": synthetic_trials(bases=("DARTS_ADAPT", "SNAS_ADAPT"), connections=None),
        "diverged": synthetic_trials(bases=("DARTS",)),
        "nothing": [],
    }[kind]
    synthetic_store(
        tmp_path / "s", some, lambda t: curve(0.3), diverged=lambda t: kind == "diverged"
    )
    found = findings(Results(tmp_path / "s"))
    assert {one.claim for one in found} == {claim.id for claim in CLAIMS}
    assert all(one.verdict for one in found if one.primary)


@pytest.mark.parametrize("lost", ["DARTS", "all"])
def test_a_base_without_values_is_no_reference_and_ties_decide_nothing(tmp_path, lost):
    trials = synthetic_trials(bases=("DARTS", "AmoebaNet"), seeds=range(2))

    def final(t):
        gone = t.index == 0 and lost in ("all", t.base)
        return np.full(30, np.nan) if gone else curve(0.3, final=0.8)

    synthetic_store(tmp_path / "s", trials, final)
    found = [one for one in findings(Results(tmp_path / "s")) if one.primary and one.trials]
    assert {one.verdict for one in found} <= {"not testable", "no data", "inconclusive"}
    assert not [one for one in found if one.claim.startswith("base") and lost == "all"]


def test_members_without_a_learning_rate_are_an_error_that_names_the_column(tmp_path):
    store = synthetic_store(
        tmp_path / "s", synthetic_trials(bases=("DARTS",)), lambda t: curve(0.3)
    )
    path = store.root / layout.members("made-up")
    pd.read_parquet(path).drop(columns="learning_rate").to_parquet(path)
    with pytest.raises(CorruptData, match="learning_rate"):
        findings(Results(store))
