"""Error rates and coverage of every test, each in 2,000 studies of populations that we know."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from orchestrator.paper.statistics.association import (
    association,
    jonckheere,
    partial_association,
    quadratic,
    two_lines,
)
from orchestrator.paper.statistics.samples import (
    APART,
    BEST_LEAD,
    Set,
    best_lead,
    flipped,
    odds,
    paired,
    placing,
)
from orchestrator.paper.statistics.testing import RHO

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


def with_trend(rng):
    """Normal outcomes that correlate with a normal trait, whose order the widths coarsen."""
    trait = np.sort(rng.standard_normal(13))
    return RHO * trait + math.sqrt(1 - RHO**2) * rng.standard_normal(13)


def with_part(part, degrees):
    """Normal outcomes that correlate with a part of the widths, all else allowed for."""
    scale = RHO * math.sqrt(degrees / (part @ part))
    return lambda rng: scale * part + math.sqrt(1 - RHO**2) * rng.standard_normal(13)


def left(values, *others):
    """Residuals of an ordinary regression with a constant."""
    design = np.column_stack([np.ones(len(values)), *others])
    return values - design @ np.linalg.lstsq(design, values, rcond=None)[0]


BEND = left(-(DARTS**2), DARTS)
COVARIATES = np.random.default_rng(29).permuted(np.tile(np.arange(13.0), (3, 1)), axis=1).T
RANKS = np.repeat([1.0, 5, 9, 11.5], [3, 5, 3, 2])
PART = left(RANKS, *COVARIATES.T)


@pytest.mark.parametrize(
    ("test", "draw"),
    [
        (TESTS["association"], with_trend),
        (TESTS["jonckheere"], with_trend),
        (lambda y, _: partial_association(DARTS, y, COVARIATES, ONE), with_part(PART, 9)),
        (TESTS["quadratic"], with_part(BEND, 11)),
        (TESTS["two_lines"], with_part(BEND, 11)),
    ],
    ids=["association", "jonckheere", "partial", "quadratic", "two_lines"],
)
def test_an_effect_is_found_as_often_as_the_power_says(test, draw):
    rng = np.random.default_rng(31)
    found = [test(draw(rng), rng) for _ in range(STUDIES)]
    rate, power = np.mean([one.p <= 0.05 for one in found]), found[0].power
    # Both are shares of 2,000 studies, and so differ by chance.
    error = math.sqrt(2 * power * (1 - power) / STUDIES)
    assert abs(rate - power) < 3.3 * error, (rate, power)


def test_shares_apart_are_found_as_often_as_the_power_says():
    rng = np.random.default_rng(37)
    one, other = (rng.binomial(n, p, STUDIES).tolist() for n, p in zip((9, 7), APART, strict=True))
    found = [odds((a, 9 - a), (b, 7 - b)) for a, b in zip(one, other, strict=True)]
    detected = sum(one.p <= 0.05 for one in found)
    assert binomtest(detected, STUDIES, found[0].power).pvalue > CHANCE, detected


def test_the_lead_of_one_variant_is_found_as_often_as_the_power_says():
    rng = np.random.default_rng(43)
    found = []
    for _ in range(500):  # each takes some milliseconds
        base, *variants = rng.standard_normal((5, 3))
        found.append(best_lead([Set(base, [variants[0] + BEST_LEAD, *variants[1:]])]))
    detected = sum(one.p <= 0.05 for one in found)
    assert binomtest(detected, len(found), found[0].power).pvalue > CHANCE, detected
