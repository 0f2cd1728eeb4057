"""Theorem 4.1: its right side by hand and step by step, and SGD on problems of known constants."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from workers.theory.sgd import (
    bound,
    expectation,
    logistic,
    nonconvex,
    problems,
    quadratic,
    run_sgd,
)

POSITIVE = st.floats(1e-3, 1e3)


def test_the_bound_by_hand():
    found = bound(3.0, 1.0, 2.0, 5.0, [0.1, 0.4])
    assert found.start == pytest.approx(2 * 2 / 0.5)
    assert found.noise == pytest.approx(2 * 5 * (0.01 + 0.16) / 0.5)
    assert found.value == found.start + found.noise
    assert found.within == 1
    assert bound(1, 0, 4, 0, [0.1, 0.25, 0.3], [1, 2, 1]).within == 0.25


@given(st.lists(st.tuples(POSITIVE, st.integers(1, 5)), min_size=1, max_size=6), POSITIVE, POSITIVE)
def test_an_epoch_of_steps_is_its_steps_one_by_one(epochs, smoothness, variance):
    rates, counts = zip(*epochs, strict=True)
    each = [rate for rate, count in epochs for _ in range(count)]
    together = bound(1, 0, smoothness, variance, rates, counts)
    apart = bound(1, 0, smoothness, variance, each)
    assert together == pytest.approx(apart)
    total = math.fsum(each)
    wanted = 2 / total + smoothness * variance * math.fsum(r * r for r in each) / total
    assert together.value == pytest.approx(wanted)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"rates": rates} for rates in ([], [0.1, 0], [-0.1], [math.nan])),
        *({"f_star": 2}, {"smoothness": 0}, {"variance": -1}, {"f0": math.nan}),
    ],
)
def test_impossible_constants_are_refused(wrong):
    given = {"f0": 1, "f_star": 0, "smoothness": 1, "variance": 1, "rates": [0.1]} | wrong
    with pytest.raises(SpecError):
        bound(**given)


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("make", [quadratic, nonconvex, logistic])
def test_gradients_are_those_of_the_value_and_no_steeper_than_l(make):
    problem = make(generator(), 1)
    draws = np.random.default_rng(1)
    for _ in range(20):
        point, direction = 2 * draws.standard_normal((2, len(problem.start)))
        step = 1e-6 * direction
        slope = (problem.value(point[None] + step) - problem.value(point[None] - step))[0] / 2
        assert slope == pytest.approx(problem.gradient(point[None])[0] @ step, rel=1e-4)
        other = point + direction
        difference = problem.gradient(point[None]) - problem.gradient(other[None])
        assert np.linalg.norm(difference) <= problem.smoothness * np.linalg.norm(direction)
        assert problem.value(point[None])[0] >= problem.infimum


def test_stochastic_gradients_are_unbiased_and_of_the_variance_that_is_declared():
    for problem in problems(generator()):
        points = np.repeat(problem.start[None], 20_000, axis=0)
        drawn = problem.stochastic(points, np.random.default_rng(2))
        truth = problem.gradient(problem.start[None])
        spread = np.square(drawn - truth).sum(1).mean()
        assert spread <= problem.variance * 1.03
        if problem.name != "logistic regression":
            assert spread == pytest.approx(problem.variance, rel=0.03)
        error = np.linalg.norm(drawn.mean(0) - truth)
        assert error <= 4 * (problem.variance / len(points)) ** 0.5 + 1e-9


def test_the_mean_over_runs_is_the_expectation_of_a_quadratic():
    """E w² follows w² ← (1 − γh)² w² + γ² σ²/p, which needs no draw."""
    assert expectation([1, 3], [10, 2]) == pytest.approx(4)
    problem = quadratic(generator(), 1.0)
    rates = np.full(50, 0.5)
    bends, squares = np.geomspace(0.01, 1, 20), problem.start**2
    wanted = 0.0
    for rate in rates:
        wanted += rate * (bends**2 * squares).sum() / rates.sum()
        squares = (1 - rate * bends) ** 2 * squares + rate**2 / 20
    found = run_sgd(problem, rates, np.random.default_rng(3), runs=4000)
    assert found == pytest.approx(wanted, rel=0.01)
    limit = bound(problem.value(problem.start[None])[0], 0, 1, 1, rates)
    assert wanted < limit.value


def test_a_rate_beyond_the_premise_breaks_the_bound():
    problem = quadratic(generator(), 0.0)
    rates = np.full(40, 2.5)
    limit = bound(problem.value(problem.start[None])[0], 0, 1, 0, rates)
    assert limit.within == 0
    assert run_sgd(problem, rates, generator(), runs=1) > limit.value
