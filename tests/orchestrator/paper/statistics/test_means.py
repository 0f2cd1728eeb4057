"""Sign flips and equivalence: exact values, error rates, power."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.paper.statistics.samples import equivalent, flipped, paired, student

TABLE_1 = np.array([0.20, 0.27, 0.63, 0.26, 0.58])
"""What adapted cells gain on CIFAR-100, in points."""


def test_five_architectures_have_p_of_one_in_32_at_best():
    found = flipped(TABLE_1)
    assert (found.p, found.exact) == (1 / 32, True)
    assert found.value == pytest.approx(0.388)
    student: Any = stats.ttest_1samp(TABLE_1, 0, alternative="greater")
    assert paired(TABLE_1).p == pytest.approx(student.pvalue)
    assert found.low == pytest.approx(0.388 - 2.7764 * np.std(TABLE_1, ddof=1) / 5**0.5, abs=1e-4)
    assert flipped(-np.array([0.2, 0.3])).p == 1


def test_few_pairs_can_never_tell():
    assert flipped(np.array([1.0, 2, 3, 4])).power == 0
    assert flipped(np.array([1.0])).power == 0
    assert np.isnan(student(np.array([1.0]))).all()


@pytest.mark.parametrize("n", [5, 12, 20])
def test_flips_and_intervals_have_their_nominal_rates(n):
    rng = np.random.default_rng(n)
    studies = {5: 2_000, 12: 300, 20: 150}[n]
    found = [flipped(row) for row in rng.standard_normal((studies, n))]
    assert abs(np.mean([one.low <= 0 <= one.high for one in found]) - 0.95) < 0.04
    wrong = np.mean([one.p <= 0.05 for one in found])
    assert 0.005 <= wrong <= 0.1


def test_power_of_flips_is_what_happens():
    rng = np.random.default_rng(1)
    found = [flipped(row) for row in 1 + rng.standard_normal((400, 8))]
    assert np.mean([one.p <= 0.05 for one in found]) == pytest.approx(found[0].power, abs=0.06)


def test_equivalence():
    alike = equivalent(np.array([0.01, -0.02, 0.0, 0.015]), 0.1)
    apart = equivalent(np.array([1.01, 0.98, 1.0, 1.015]), 0.1)
    unclear = equivalent(np.array([-1.0, 1.0, 0.5]), 0.1)
    assert alike.p < 0.01 < alike.p_against
    assert apart.p_against < 0.01 < apart.p
    assert min(unclear.p, unclear.p_against) > 0.05
    assert unclear.power == 0
    assert equivalent(np.array([0.0]), 1.0).p == 1


def test_equivalence_is_rarely_claimed_at_the_margin():
    rng = np.random.default_rng(2)
    found = [equivalent(row, 1.0) for row in 1.0 + 0.3 * rng.standard_normal((1_000, 6))]
    assert np.mean([one.p <= 0.05 for one in found]) == pytest.approx(0.05, abs=0.02)
    assert not math.isnan(found[0].low)
