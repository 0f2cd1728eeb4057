"""Curvature at the trained weights: the Hessian's largest eigenvalue and its trace (Section 4.2).

The L of Theorem 4.1 bounds the magnitude of every eigenvalue of the Hessian; the contour of the
loss stands in for it in the paper, and here it is measured at the centre.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch

from workers.draws import derive
from workers.landscape.hessian import Hessian

_FEWEST_PROBES = 8  # before a standard error is believed


@dataclass(frozen=True)
class Eigenvalues:
    """The ends of the Hessian's spectrum.

    Attributes:
        largest: The largest eigenvalue by value.
        residual: ‖H v − largest · v‖ of its unit eigenvector, which bounds the distance to some
            eigenvalue.
        smallest: The smallest by value; negative at a saddle.
        smallest_residual: Likewise.
        iterations: Products with the Hessian.
        converged: Whether `residual` came within the tolerance.
    """

    largest: float
    residual: float
    smallest: float
    smallest_residual: float
    iterations: int
    converged: bool

    @property
    def magnitude(self) -> float:
        """The larger of both magnitudes: the L of the loss at this point."""
        return max(abs(self.largest), abs(self.smallest))


@dataclass(frozen=True)
class Trace:
    """The Hessian's trace.

    Attributes:
        value: The mean of vᵀ H v over probes v of random signs (Hutchinson).
        standard_error: Of that mean.
        probes: How many.
        converged: Whether the standard error came within the tolerance.
    """

    value: float
    standard_error: float
    probes: int
    converged: bool


_UNKNOWN = Eigenvalues(
    largest=math.nan,
    residual=math.nan,
    smallest=math.nan,
    smallest_residual=math.nan,
    iterations=0,
    converged=False,
)


def eigenvalues(
    hessian: Hessian, *, seed: int = 0, tolerance: float = 1e-3, iterations: int = 100
) -> Eigenvalues:
    """The ends of the spectrum by Lanczos's method.

    The vectors are not kept, so that memory does not grow with the iterations; without them
    eigenvalues may come up several times, which leaves the ends of the spectrum right.

    Args:
        hessian: At the trained weights.
        seed: Of the first vector.
        tolerance: Largest residual over the eigenvalue's magnitude, to stop early.
        iterations: At most; never more than there are parameters.

    Returns:
        NaN if the Hessian is not finite.
    """
    vector = hessian.random(derive(seed, "lanczos"))
    vector /= vector.norm()
    before, beta = torch.zeros_like(vector), 0.0
    diagonal: list[float] = []
    beside: list[float] = []
    found = _UNKNOWN
    for _ in range(min(iterations, hessian.size)):
        product = hessian.times(vector) - beta * before
        alpha = float(product @ vector)
        product -= alpha * vector
        beta = float(product.norm())
        if not math.isfinite(alpha) or not math.isfinite(beta):
            return replace(_UNKNOWN, iterations=len(diagonal) + 1)
        diagonal.append(alpha)
        found = _ends(diagonal, beside, beta, tolerance)
        # At beta = 0 the vectors so far span all that the Hessian makes of them.
        if found.converged or not beta:
            break
        beside.append(beta)
        before, vector = vector, product / beta
    return found


def trace(hessian: Hessian, *, seed: int = 0, tolerance: float = 0.05, probes: int = 100) -> Trace:
    """The trace by Hutchinson's method.

    Args:
        hessian: At the trained weights.
        seed: Of the probes.
        tolerance: Largest standard error over the trace's magnitude, to stop early.
        probes: At most.

    Returns:
        NaN if the Hessian is not finite; the error is NaN after a single probe.
    """
    values: list[float] = []
    found = Trace(math.nan, math.nan, 0, converged=False)
    for index in range(probes):
        probe = hessian.random(derive(seed, "hutchinson", index), signs=True)
        values.append(float(hessian.times(probe) @ probe))
        if not math.isfinite(values[-1]):
            return Trace(math.nan, math.nan, len(values), converged=False)
        mean = math.fsum(values) / len(values)
        error = float(np.std(values, ddof=1)) / len(values) ** 0.5 if index else math.nan
        enough = len(values) >= _FEWEST_PROBES and error <= tolerance * abs(mean)
        found = Trace(mean, error, len(values), converged=enough)
        if enough:
            break
    return found


def _ends(diagonal: list[float], beside: list[float], beta: float, tolerance: float) -> Eigenvalues:
    """Of the tridiagonal matrix so far; its eigenvectors' last entries times beta are residuals."""
    matrix = np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    residuals = np.abs(beta * vectors[-1])
    return Eigenvalues(
        largest=float(values[-1]),
        residual=float(residuals[-1]),
        smallest=float(values[0]),
        smallest_residual=float(residuals[0]),
        iterations=len(diagonal),
        converged=bool(residuals[-1] <= tolerance * abs(values[-1])),
    )
