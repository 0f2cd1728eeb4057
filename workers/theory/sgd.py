"""Theorem 4.1 (Ghadimi and Lan, 2013): how far SGD comes on a smooth, non-convex objective.

`bound` is its right side. `check_sgd` runs SGD many times on three small problems whose L and σ²
are known, and compares both sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray

from results_schema.errors import SpecError
from workers.draws import derive
from workers.theory.checks import Comparison

Numbers = NDArray[np.float64]

RUNS = 200  # of SGD, whose mean estimates the expectation
STEPS = (10, 100, 1000)
SHARES = (0.1, 0.99)  # learning rates over 1/L: constant ones, and the first of a cosine schedule
NOISES = (0.0, 0.1, 1.0, 10.0)  # σ², where noise is added
BATCHES = (1, 4, 16)  # of logistic regression, drawn with replacement


class Bound(NamedTuple):
    """The right side of the theorem for one run.

    Attributes:
        start: 2 (f(w₀) − f*)/H, with H the sum of all steps' rates γ_k.
        noise: (L σ²/H) Σ γ_k².
        within: Share of the steps whose rate is below 1/L; the theorem requires all.
    """

    start: float
    noise: float
    within: float

    @property
    def value(self) -> float:
        """The bound of E‖∇f(w_R)‖², w_R the point before step k with probability γ_k/H."""
        return self.start + self.noise


def bound(
    f0: float,
    f_star: float,
    smoothness: float,
    variance: float,
    rates: ArrayLike,
    steps: ArrayLike = 1,
) -> Bound:
    """Return the right side of Theorem 4.1, also where its premise fails (see `Bound.within`).

    `f0` is f(w₀), `f_star` f* or any lower bound, `smoothness` L, `variance` σ²; each γ of `rates`
    is that of so many successive `steps`.

    Raises:
        SpecError: There is no step, a rate is not above 0, f(w₀) is below f*, L is not above 0, or
            σ² is below 0.
    """
    gamma, counts = np.broadcast_arrays(np.asarray(rates, float), np.asarray(steps, float))
    total = float((gamma * counts).sum())
    if not gamma.size or not (gamma > 0).all() or not total > 0:
        raise SpecError("a rate is not above 0, or there is no step", fix="give the rates in use")
    # Written so that a NaN is refused too.
    if not (f0 >= f_star and smoothness > 0 and variance >= 0):
        what = f"f(w0) = {f0:g}, f* = {f_star:g}, L = {smoothness:g}, sigma² = {variance:g}"
        raise SpecError(what, fix="f(w0) is f* or more, L above 0 and sigma² 0 or more")
    squares = float((gamma**2 * counts).sum())
    within = float(counts[gamma < 1 / smoothness].sum() / counts.sum())
    return Bound(2 * (f0 - f_star) / total, smoothness * variance * squares / total, within)


def expectation(rates: ArrayLike, values: ArrayLike) -> float:
    """Return E of a value at w_R, Σ γ_k v_k / Σ γ_k, from v at the point before each step."""
    gamma = np.asarray(rates, float)
    return math.fsum(gamma * np.asarray(values, float)) / math.fsum(gamma)


@dataclass(frozen=True)
class Problem:
    """An objective whose constants are known; R runs have points [R, p]."""

    name: str
    start: Numbers  # w₀, [p]
    value: Callable[[Numbers], Numbers]  # f, [R]
    gradient: Callable[[Numbers], Numbers]  # ∇f, [R, p]
    stochastic: Callable[[Numbers, Generator], Numbers]  # a draw of an unbiased gradient
    infimum: float  # f*
    smoothness: float  # L
    variance: float  # σ²


def check_sgd(seed: int = 0) -> list[Comparison]:
    """Compare both sides on every problem, learning-rate schedule and number of steps."""
    found: dict[str, list[tuple[float, float]]] = {}
    for problem in problems(np.random.default_rng(derive(seed, "problems"))):
        for steps, share, cosine in product(STEPS, SHARES, (False, True)):
            rates = np.full(steps, share / problem.smoothness)
            if cosine:
                rates *= 0.5 * (1 + np.cos(np.pi * np.arange(steps) / steps))
            generator = np.random.default_rng(derive(seed, problem.name, steps, share, cosine))
            [f0] = problem.value(problem.start[None])
            limit = bound(float(f0), problem.infimum, problem.smoothness, problem.variance, rates)
            sides = run_sgd(problem, rates, generator), limit.value
            found.setdefault(problem.name, []).append(sides)
    return [
        Comparison("Theorem 4.1", name, True, *np.array(sides).T) for name, sides in found.items()
    ]


def run_sgd(problem: Problem, rates: Numbers, generator: Generator, runs: int = RUNS) -> float:
    """Return E‖∇f(w_R)‖² of SGD: exact over R, a mean over runs."""
    points = np.repeat(problem.start[None], runs, axis=0)
    squares = np.empty(len(rates))
    for step, rate in enumerate(rates):
        squares[step] = np.square(problem.gradient(points)).sum(1).mean()
        points = points - rate * problem.stochastic(points, generator)
    return expectation(rates, squares)


def problems(generator: Generator) -> Iterator[Problem]:
    """Yield a quadratic and a non-convex problem by σ², and logistic regression by batch."""
    for variance in NOISES:
        yield quadratic(generator, variance)
        yield nonconvex(generator, variance)
    for batch in BATCHES:
        yield logistic(generator, batch)


def quadratic(generator: Generator, variance: float, size: int = 20) -> Problem:
    """Return f = ½ Σ h_j w_j², h between 0.01 and 1: L is the largest."""
    bends = np.geomspace(0.01, 1, size)
    start = generator.standard_normal(size)
    functions = lambda w: 0.5 * (bends * w**2).sum(1), lambda w: bends * w
    return _noisy("quadratic", start, *functions, 1.0, variance)


def nonconvex(generator: Generator, variance: float, size: int = 20) -> Problem:
    """Return f = Σ w_j²/(1 + w_j²); its |f''| = |2 − 6w²|/(1 + w²)³ is at most 2."""
    start = 2 * generator.standard_normal(size)
    functions = lambda w: (w**2 / (1 + w**2)).sum(1), lambda w: 2 * w / (1 + w**2) ** 2
    return _noisy("non-convex", start, *functions, 2.0, variance)


def logistic(generator: Generator, batch: int, size: int = 5, instances: int = 200) -> Problem:
    """Return logistic regression: L ≤ λ_max(XᵀX)/4N, and E‖g − ∇f‖² ≤ E‖x‖²/b, as |p − y| ≤ 1."""
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
    minimum = np.zeros(size)
    for _ in range(50):  # Newton's method
        probabilities = _sigmoid(inputs @ minimum)
        spread = probabilities * (1 - probabilities)
        hessian = (inputs * spread[:, None]).T @ inputs / instances
        minimum -= np.linalg.solve(hessian, gradient(minimum[None])[0])
    start, infimum = 3 * generator.standard_normal(size), float(value(minimum[None])[0])
    variance = float((inputs**2).sum(1).mean()) / batch
    functions = value, gradient, stochastic
    return Problem("logistic regression", start, *functions, infimum, smoothness, variance)


def _noisy(
    name: str,
    start: Numbers,
    value: Callable[[Numbers], Numbers],
    gradient: Callable[[Numbers], Numbers],
    smoothness: float,
    variance: float,
) -> Problem:
    """Return a problem with f* = 0 and Gaussian noise of exactly this variance on each gradient."""
    deviation = (variance / len(start)) ** 0.5

    def stochastic(w: Numbers, generator: Generator) -> Numbers:
        return gradient(w) + deviation * generator.standard_normal(w.shape)

    return Problem(name, start, value, gradient, stochastic, 0.0, smoothness, variance)


def _sigmoid(scores: Numbers) -> Numbers:
    return 0.5 * (1 + np.tanh(0.5 * scores))
