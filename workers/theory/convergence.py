"""Theorem 4.1 (Ghadimi and Lan, 2013): how far SGD comes on a smooth, non-convex objective."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from results_schema.errors import SpecError


class Bound(NamedTuple):
    """What the theorem says of one run.

    Attributes:
        start: 2 (f(w₀) − f*)/H.
        noise: (L σ²/H) Σ γ_k².
        within: Share of the steps whose rate is below 1/L; the theorem asks for all.
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
    """The right side of Theorem 4.1; a number also where its premise fails, see `Bound.within`.

    Args:
        f0: f(w₀).
        f_star: The infimum of f, or any lower bound.
        smoothness: L.
        variance: σ² of a stochastic gradient.
        rates: γ of each step, above 0.
        steps: How many steps in a row each of them is used for.

    Raises:
        SpecError: There is no step, a rate is not above 0, f(w₀) lies below f*, L is not above 0,
            or σ² is below 0.
    """
    gamma, counts = np.broadcast_arrays(np.asarray(rates, float), np.asarray(steps, float))
    total = float((gamma * counts).sum())
    if not gamma.size or not (gamma > 0).all() or not total > 0:
        raise SpecError("a rate is not above 0, or there is no step", fix="give the rates in use")
    # Put so that a NaN is refused too.
    if not (f0 >= f_star and smoothness > 0 and variance >= 0):
        raise SpecError(
            f"f(w0) = {f0:g}, f* = {f_star:g}, L = {smoothness:g}, sigma² = {variance:g}",
            fix="f(w0) is f* or more, L above 0 and sigma² 0 or more",
        )
    squares = float((gamma**2 * counts).sum())
    within = float(counts[gamma < 1 / smoothness].sum() / counts.sum())
    return Bound(2 * (f0 - f_star) / total, smoothness * variance * squares / total, within)


def weighted(rates: Sequence[float] | NDArray[np.float64], values: ArrayLike) -> float:
    """E of a value at w_R: Σ γ_k v_k / Σ γ_k.

    Args:
        rates: γ of each step.
        values: At the point before each step.
    """
    gamma = np.asarray(rates, float)
    return math.fsum(gamma * np.asarray(values, float)) / math.fsum(gamma)
