import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema import layout
from results_schema.errors import CorruptData, SpecError
from results_schema.stopping import (
    Cohort,
    StopRule,
    decide,
    make_cohorts,
    pruned_trials,
    read_decisions,
)
from results_schema.store import LocalStore, open_store

NAN, INF = math.nan, math.inf
HALVING = StopRule("halving", "loss", "min", rungs=(1, 3), keep=0.5)
MEDIAN = StopRule("median", "score", "max", after=2)


def test_rungs_end_before_the_last_epoch():
    assert list(HALVING.rungs_of(3)) == [1]
    assert list(HALVING.rungs_of(0)) == [1, 3]
    assert list(MEDIAN.rungs_of(8)) == [2, 4, 6]
    every = StopRule("median", after=5, every=2)
    assert list(every.rungs_of(10)) == [5, 7, 9]


@pytest.mark.parametrize(
    ("losses", "kept"),
    [
        ({"a": 3, "b": 1, "c": 2, "d": 4}, "bc"),
        ({"a": 3, "b": 1, "c": 2}, "bc"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, "ab"),
        ({"a": NAN, "b": 5, "c": INF, "d": -INF}, "b"),
        ({"a": NAN, "b": INF}, ""),
        ({"b": 2}, "b"),
    ],
)
def test_halving_keeps_the_best_share_of_what_is_finite(losses: dict[str, float], kept: str):
    # "e" has no row at all.
    found = HALVING.kept({t: [9.0, v] for t, v in losses.items()}, [*losses])
    assert found == set(kept)
    assert HALVING.kept({t: [v] for t, v in losses.items()}, [*losses]) == set(kept)
    assert HALVING.kept({}, ["e"]) == set()


def test_the_median_compares_the_best_so_far_with_the_mean_of_all():
    curves = {"a": [1, 9], "b": [4, 4], "c": [5, 5], "d": [3, 3.5], "old": [4], "e": [NAN, 4.2]}
    # Means from the best: 5, 5, 4, 4, 3.25 and the worst; the middle one is 4.
    assert MEDIAN.kept(curves, ["a", "b", "c", "d", "e"]) == {"a", "b", "c", "e"}
    assert MEDIAN.kept(curves, ["d", "none"]) == set()


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.lists(st.floats(), max_size=3), min_size=1))
def test_a_decision_keeps_some_of_what_is_finite_and_depends_on_no_order(curves: dict):
    for rule in (HALVING, MEDIAN):
        kept = rule.kept(curves, list(curves))
        assert kept == rule.kept(dict(reversed(curves.items())), sorted(curves, reverse=True))
        assert kept <= curves.keys()
        finite = {t for t, curve in curves.items() if curve and math.isfinite(curve[-1])}
        if rule is HALVING:
            assert len(kept) == min(len(finite), math.ceil(len(curves) / 2))


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"rule": "halving"}, "halving lacks rungs"),
        ({"rule": "halving", "rungs": [1]}, "halving lacks keep"),
        ({"rule": "halving", "rungs": [2, 1], "keep": 0.5}, "rungs is [2, 1]"),
        ({"rule": "halving", "rungs": [1], "keep": 1}, "keep is 1"),
        ({"rule": "median"}, "median lacks after"),
        ({"rule": "median", "after": -1}, "after is -1"),
        ({"rule": "median", "after": 1, "keep": 0.5}, "median takes no keep"),
        ({"rule": "best"}, "unknown rule 'best'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(options: dict, what: str):
    with pytest.raises(SpecError) as caught:
        StopRule(**options)
    assert what in str(caught.value)
    assert caught.value.fix


def test_a_cohort_is_named_by_its_rule_and_trials(tmp_path: Path):
    one, two = make_cohorts(HALVING, {"t1": ("a", 5), "t2": ("b", 5), "t3": ("a", 9)})
    assert (one.trials, two.trials) == (("t1", "t3"), ("t2",))
    assert Cohort(HALVING, {"t3": 0, "t1": 0}).digest == one.digest
    assert Cohort(MEDIAN, one.epochs).digest != one.digest != two.digest
    assert StopRule.from_json(HALVING.to_json()) == HALVING
    assert make_cohorts(None, {"t1": ("a", 5)}) == []


def test_a_decision_is_made_once(tmp_path: Path):
    store, cohort = open_store(tmp_path / "results"), Cohort(HALVING, {"t1": 5, "t2": 5})
    made = decide(store, cohort, 1, "x")
    assert made is not None
    assert (made.kept, made.pruned) == (frozenset(), frozenset({"t1", "t2"}))
    before = store.get(layout.decision(cohort.digest, 1))
    assert decide(store, cohort, 1, "x") == made
    assert store.get(layout.decision(cohort.digest, 1)) == before
    held = store.leases.take(layout.decision_lease(cohort.digest))
    assert held is not None
    assert decide(store, cohort, 3, "x") is None
    held.release()
    assert read_decisions(store, [cohort]) == {cohort.digest: {1: made}}
    assert pruned_trials([made]) == {"t1": 1, "t2": 1}
    assert read_decisions(store, []) == {}


@pytest.mark.parametrize("text", ["", "[]", '{"epoch": 2, "kept": [], "pruned": []}', "{}"])
def test_a_damaged_decision_is_named(tmp_path: Path, text: str):
    store, cohort = LocalStore(tmp_path), Cohort(HALVING, {"t1": 5})
    store.put(layout.decision(cohort.digest, 1), text.encode())
    with pytest.raises(CorruptData, match="not a decision"):
        read_decisions(store, [cohort])
