"""A correlation that a covariate explains vanishes; another stays."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from orchestrator.paper.statistics.association import partial_association

stats: Any = scipy_stats  # it tells no types of its results


def test_it_is_the_correlation_of_the_residuals():
    rng = np.random.default_rng(0)
    z, x, y = rng.standard_normal((3, 30))
    x, y = x + z, y + z
    found = partial_association(x, y, z[:, None], np.zeros(30))
    rx, ry, rz = (stats.rankdata(v) for v in (x, y, z))
    xy, xz, yz = (np.corrcoef(a, b)[0, 1] for a, b in ((rx, ry), (rx, rz), (ry, rz)))
    expected = (xy - xz * yz) / math.sqrt((1 - xz**2) * (1 - yz**2))
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_what_a_covariate_explains_is_no_effect_and_what_it_does_not_is_one():
    rng = np.random.default_rng(1)
    z = rng.standard_normal(60)
    strata = np.repeat([0, 1, 2], 20)
    x = z + 0.5 * rng.standard_normal(60)
    explained = partial_association(x, z + 0.5 * rng.standard_normal(60), z[:, None], strata)
    own = partial_association(x, x + 0.3 * rng.standard_normal(60), z[:, None], strata)
    assert explained.p > 0.05
    assert own.p < 0.001


def test_constant_and_repeated_covariates_fall_away():
    x, y = np.arange(8.0), np.array([1.0, 0, 3, 2, 5, 4, 7, 6])
    plain = partial_association(x, y, np.ones((8, 2)), np.zeros(8))
    assert plain.value == pytest.approx(stats.spearmanr(x, y).statistic)
    z = np.array([3.0, 1, 4, 1, 5, 9, 2, 6])
    once, twice = (partial_association(x, y, np.stack([z] * k, 1), np.zeros(8)) for k in (1, 2))
    assert once.value == pytest.approx(twice.value)
    assert once.p == twice.p


@pytest.mark.parametrize("n", [0, 1, 3])
def test_too_few_cells_say_nothing(n):
    x = np.arange(n, dtype=float)
    found = partial_association(x, x, x[:, None] ** 2, np.zeros(n))
    assert math.isnan(found.value)
    assert found.p == 1


def test_without_covariates_there_is_nothing_to_tell():
    x = np.arange(9.0)
    assert math.isnan(partial_association(x, x, np.empty((9, 0)), np.zeros(9)).value)


def test_its_error_rate_is_nominal():
    rng = np.random.default_rng(2)
    strata = np.zeros(7)
    p = []
    for _ in range(400):
        z, x, y = rng.standard_normal((3, 7))
        p.append(partial_association(x + z, y + z, z[:, None], strata).p)
    assert 8 <= (np.array(p) <= 0.05).sum() <= 36
