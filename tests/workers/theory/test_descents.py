"""SGD on the problems whose constants are known: their constants, and the expectation itself."""

import numpy as np
import pytest

from workers.theory.convergence import bound
from workers.theory.descents import bounded, descend, logistic, problems, quadratic


def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("make", [quadratic, bounded, logistic])
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


def test_stochastic_gradients_are_unbiased_and_of_the_variance_that_is_told():
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
    problem = quadratic(generator(), 1.0)
    rates = np.full(50, 0.5)
    bends, squares = np.geomspace(0.01, 1, 20), problem.start**2
    wanted = 0.0
    for rate in rates:
        wanted += rate * (bends**2 * squares).sum() / rates.sum()
        squares = (1 - rate * bends) ** 2 * squares + rate**2 / 20
    found = descend(problem, rates, np.random.default_rng(3), runs=4000)
    assert found == pytest.approx(wanted, rel=0.01)
    limit = bound(problem.value(problem.start[None])[0], 0, 1, 1, rates)
    assert wanted < limit.value


def test_a_rate_beyond_the_premise_breaks_the_bound():
    problem = quadratic(generator(), 0.0)
    rates = np.full(40, 2.5)
    limit = bound(problem.value(problem.start[None])[0], 0, 1, 0, rates)
    assert limit.within == 0
    assert descend(problem, rates, generator(), runs=1) > limit.value
