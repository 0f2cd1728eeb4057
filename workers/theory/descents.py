"""Theorem 4.1 checked where L and σ² are known: SGD run many times on three small problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from workers.draws import derive
from workers.theory.comparison import Comparison
from workers.theory.convergence import bound, weighted

Numbers = NDArray[np.float64]

RUNS = 200
"""Of SGD, whose mean stands for the expectation."""

STEPS = (10, 100, 1000)
SHARES = (0.1, 0.99)
"""Rates over 1/L, constant; and under the cosine schedule at first."""

NOISES = (0.0, 0.1, 1.0, 10.0)
"""σ², where noise is added."""

BATCHES = (1, 4, 16)
"""Of logistic regression, drawn with replacement."""


@dataclass(frozen=True)
class Problem:
    """An objective whose constants are known.

    Attributes:
        name: For the table.
        start: w₀, [p].
        value: f at [R, p], [R].
        gradient: ∇f at [R, p].
        stochastic: A draw of an unbiased gradient at [R, p].
        infimum: f*.
        smoothness: L.
        variance: σ².
    """

    name: str
    start: Numbers
    value: Callable[[Numbers], Numbers]
    gradient: Callable[[Numbers], Numbers]
    stochastic: Callable[[Numbers, Generator], Numbers]
    infimum: float
    smoothness: float
    variance: float


def check_descents(seed: int = 0) -> list[Comparison]:
    """The theorem on every problem, schedule of the rate and number of steps."""
    found: dict[str, list[tuple[float, float]]] = {}
    for problem in problems(np.random.default_rng(derive(seed, "problems"))):
        for steps, share, cosine in product(STEPS, SHARES, (False, True)):
            rates = np.full(steps, share / problem.smoothness)
            if cosine:
                rates *= 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
            generator = np.random.default_rng(derive(seed, problem.name, steps, share, cosine))
            [f0] = problem.value(problem.start[None])
            limit = bound(float(f0), problem.infimum, problem.smoothness, problem.variance, rates)
            sides = descend(problem, rates, generator), limit.value
            found.setdefault(problem.name, []).append(sides)
    return [_compare(name, np.array(sides)) for name, sides in found.items()]


def descend(problem: Problem, rates: Numbers, generator: Generator, runs: int = RUNS) -> float:
    """E‖∇f(w_R)‖² of SGD: exact over R, a mean over runs."""
    points = np.repeat(problem.start[None], runs, axis=0)
    squares = np.empty(len(rates))
    for step, rate in enumerate(rates):
        squares[step] = np.square(problem.gradient(points)).sum(1).mean()
        points = points - rate * problem.stochastic(points, generator)
    return weighted(rates, squares)


def problems(generator: Generator) -> Iterator[Problem]:
    """A quadratic and a non-convex objective at each σ², logistic regression at each batch."""
    for variance in NOISES:
        yield quadratic(generator, variance)
        yield bounded(generator, variance)
    for batch in BATCHES:
        yield logistic(generator, batch)


def quadratic(generator: Generator, variance: float, size: int = 20) -> Problem:
    """f = ½ Σ h_j w_j², h between 0.01 and 1: L is the largest."""
    bends = np.geomspace(0.01, 1, size)
    return _noisy(
        "quadratic",
        generator.standard_normal(size),
        lambda w: 0.5 * (bends * w**2).sum(1),
        lambda w: bends * w,
        1.0,
        variance,
    )


def bounded(generator: Generator, variance: float, size: int = 20) -> Problem:
    """f = Σ w_j²/(1 + w_j²), which is not convex: |f''| = |2 − 6w²|/(1 + w²)³ is at most 2."""
    return _noisy(
        "non-convex",
        2 * generator.standard_normal(size),
        lambda w: (w**2 / (1 + w**2)).sum(1),
        lambda w: 2 * w / (1 + w**2) ** 2,
        2.0,
        variance,
    )


def logistic(generator: Generator, batch: int, size: int = 5, instances: int = 200) -> Problem:
    """Logistic regression: L ≤ λ_max(XᵀX)/4N, and E‖g − ∇f‖² ≤ E‖x‖²/b, since |p − y| ≤ 1."""
    inputs = generator.standard_normal((instances, size))
    truth = generator.standard_normal(size)
    labels = (generator.random(instances) < _sigmoid(inputs @ truth)).astype(float)

    def value(w: Numbers) -> Numbers:
        scores = w @ inputs.T
        return (np.logaddexp(0, scores) - labels * scores).mean(1)

    def gradient(w: Numbers) -> Numbers:
        return (_sigmoid(w @ inputs.T) - labels) @ inputs / instances

    def stochastic(w: Numbers, generator: Generator) -> Numbers:
        chosen = generator.integers(instances, size=(len(w), batch))
        seen, wanted = inputs[chosen], labels[chosen]  # [R, b, p], [R, b]
        errors = _sigmoid(np.einsum("rbp,rp->rb", seen, w)) - wanted
        return np.einsum("rb,rbp->rp", errors, seen) / batch

    smoothness = np.linalg.eigvalsh(inputs.T @ inputs)[-1] / (4 * instances)
    lowest = np.zeros(size)
    for _ in range(50):  # Newton's method
        chances = _sigmoid(inputs @ lowest)
        hessian = (inputs * (chances * (1 - chances))[:, None]).T @ inputs / instances
        lowest -= np.linalg.solve(hessian, gradient(lowest[None])[0])
    variance = float((inputs**2).sum(1).mean()) / batch
    start = 3 * generator.standard_normal(size)
    infimum = float(value(lowest[None])[0])
    return Problem(
        "logistic regression", start, value, gradient, stochastic, infimum, smoothness, variance
    )


def _noisy(
    name: str,
    start: Numbers,
    value: Callable[[Numbers], Numbers],
    gradient: Callable[[Numbers], Numbers],
    smoothness: float,
    variance: float,
) -> Problem:
    """With Gaussian noise of just this variance on each gradient, and f* = 0."""
    deviation = (variance / len(start)) ** 0.5

    def stochastic(w: Numbers, generator: Generator) -> Numbers:
        return gradient(w) + deviation * generator.standard_normal(w.shape)

    return Problem(name, start, value, gradient, stochastic, 0.0, smoothness, variance)


def _compare(name: str, sides: Numbers) -> Comparison:
    none = np.zeros(len(sides), np.int64)
    return Comparison("Theorem 4.1", name, True, sides[:, 0], sides[:, 1], none)


def _sigmoid(scores: Numbers) -> Numbers:
    return 0.5 * (1 + np.tanh(0.5 * scores))
