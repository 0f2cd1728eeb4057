"""Error rates and coverage of every test, each in 2,000 studies of populations that we know."""

import numpy as np
import pytest
from scipy.stats import binomtest

from orchestrator.claims.statistics.correlation import association
from orchestrator.claims.statistics.means import flipped, paired
from orchestrator.claims.statistics.partial import partial_association
from orchestrator.claims.statistics.peak import quadratic, two_lines
from orchestrator.claims.statistics.ranks import placing
from orchestrator.claims.statistics.trend import jonckheere

pytestmark = [pytest.mark.long, pytest.mark.timeout(1200)]

STUDIES = 2_000
DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
"""Widths of the variants of DARTS, as Table 2 has them."""
ONE = np.zeros(13)
CHANCE = 1e-3


def partial(y, rng):
    return partial_association(DARTS, y, rng.standard_normal((13, 3)), ONE)


TESTS = {
    "association": lambda y, rng: association(DARTS, y, ONE),
    "jonckheere": lambda y, rng: jonckheere(DARTS, y, ONE),
    "partial": partial,
    "quadratic": lambda y, rng: quadratic(DARTS, y, ONE),
    "two_lines": lambda y, rng: two_lines(DARTS, y, ONE),
    "flipped": lambda y, rng: flipped(y),
    "paired": lambda y, rng: paired(y),
}


@pytest.mark.parametrize("name", TESTS)
def test_no_effect_is_called_one_in_a_twentieth_of_studies(name):
    rng = np.random.default_rng(17)
    found = [TESTS[name](y, rng).p for y in rng.standard_normal((STUDIES, 13))]
    for level in (0.05, 0.2):
        wrong = int((np.array(found) <= level).sum())
        assert binomtest(wrong, STUDIES, level).pvalue > CHANCE, (level, wrong)


@pytest.mark.parametrize("name", ["jonckheere", "partial", "flipped", "paired"])
def test_intervals_hold_the_truth_as_often_as_they_say(name):
    rng = np.random.default_rng(19)
    found = [TESTS[name](y, rng) for y in rng.standard_normal((STUDIES, 13))]
    held = sum(one.low <= 0 <= one.high for one in found)
    assert binomtest(held, STUDIES, 0.95).pvalue > CHANCE, held


def test_a_place_among_rivals_is_by_chance_at_most_as_often_as_told():
    rng = np.random.default_rng(23)
    mine, rivals = rng.standard_normal((STUDIES, 4)), rng.standard_normal((STUDIES, 4, 13))
    p = [placing(list(one), list(them)).p for one, them in zip(mine, rivals, strict=True)]
    wrong = int((np.array(p) <= 0.05).sum())
    # A discrete test: p has few values.
    assert binomtest(wrong, STUDIES, 0.05, "greater").pvalue > CHANCE, wrong
