"""Shares and odds against their definitions."""

import math

import numpy as np
import pytest

from orchestrator.paper.statistics.samples import against_chances, odds, share


def test_share_against_one_half():
    found = share(5, 5)
    assert found.p == pytest.approx(1 / 32)
    assert found.p_against == 1
    assert (found.low, found.high) == (pytest.approx(0.025 ** (1 / 5)), 1)
    assert found.power == pytest.approx(0.9**5)
    assert share(1, 1).power == 0


def test_intervals_of_shares_cover_at_least_as_often_as_they_say():
    rng = np.random.default_rng(0)
    for truth in (0.5, 0.9):
        counts = rng.binomial(12, truth, 2_000)
        ends = {count: share(count, 12) for count in set(counts.tolist())}
        covered = np.mean([ends[c].low <= truth <= ends[c].high for c in counts.tolist()])
        assert covered >= 0.94


def test_fishers_tea():
    found = odds((3, 1), (1, 3))
    assert found.p == pytest.approx(17 / 70)
    assert found.value == pytest.approx(6.41, abs=0.01)
    assert found.low < 1 < found.high


def test_nothing_of_either_kind_has_no_odds():
    found = odds((0, 5), (0, 5))
    assert math.isnan(found.value)
    assert (found.p, found.p_against) == (1, 1)
    assert odds((5, 0), (0, 5)).value == math.inf


def test_power_of_odds_counts_every_table():
    # Of groups of 2 and 2 the one table that p ≤ 0.05 could belong to has p = 1/6.
    assert odds((2, 0), (0, 2)).power == 0
    # Of 3 and 3 it has p = 1/20: all so, and none.
    assert odds((1, 2), (1, 2)).power == pytest.approx(0.75**3 * 0.75**3)


def test_sets_against_chance_and_the_opposite_claim():
    more = against_chances(3, [0.2, 0.3, 0.5])
    assert more.p == pytest.approx(0.2 * 0.3 * 0.5)
    assert more.power == pytest.approx(0.9**3)  # none but three of three is rarer than 1 in 20
    fewer = against_chances(0, [13 / 14, 13 / 14], fewer=True)
    assert fewer.p == pytest.approx(1 / 14**2)
    assert (fewer.value, fewer.p_against) == (0, pytest.approx(1))
    # One of two would not do: p = 27/196.
    assert fewer.power == pytest.approx(0.9**2)
    assert against_chances(0, [13 / 14], fewer=True).power == 0
