"""The best of many variants against its base."""

import math

import numpy as np
import pytest
from scipy.stats import dunnett

from orchestrator.paper.statistics.samples import Set, best_lead


def drawn(seed: int, *, seeds: int = 3, variants: int = 4, lead: float = 0.0) -> Set:
    rng = np.random.default_rng(seed)
    runs = rng.standard_normal((variants, seeds))
    runs[0] += lead
    return Set(rng.standard_normal(seeds), list(runs))


def test_one_set_is_dunnetts_test_of_its_best_variant():
    one = drawn(1, lead=3)
    found = best_lead([one])
    test = dunnett(*one.variants, control=one.base, alternative="greater", rng=0)
    assert found.p == pytest.approx(min(test.pvalue), rel=0.05)
    assert found.value == max(run.mean() for run in one.variants) - one.base.mean()
    assert found.low < found.value
    assert (found.p_against, found.n) == (1, 15)
    assert math.isnan(found.high)


def test_p_is_corrected_for_the_sets_and_shifts_of_both_do_not_count():
    one = drawn(1, lead=3)
    moved = Set(one.base + 7, [run + 7 for run in one.variants])
    assert best_lead([one, moved]).p == pytest.approx(2 * best_lead([one]).p, rel=1e-6)
    assert best_lead([one] * 50).p <= 1


def test_more_seeds_tell_more_and_more_rivals_less():
    few, many = best_lead([drawn(2)]).power, best_lead([drawn(2, seeds=6)]).power
    crowd = best_lead([drawn(2, variants=13)]).power
    assert 0.05 < crowd < few < many <= 1


@pytest.mark.parametrize(
    "useless",
    [
        [],
        [Set(np.array([0.5]), [np.array([0.6, 0.7])])],
        [Set(np.array([0.5, 0.6]), [np.array([0.6])])],
        [Set(np.array([0.5, 0.5]), [np.array([0.5, 0.5])])],
    ],
)
def test_single_seeds_and_seeds_that_do_not_differ_tell_nothing(useless):
    found = best_lead(useless)
    assert found.n == 0
    assert found.p == 1
    usable = drawn(3)
    assert best_lead([*useless, usable]).p == best_lead([usable]).p
