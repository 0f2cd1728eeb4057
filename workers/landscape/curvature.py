"""Curvature at the trained weights: the Hessian's largest eigenvalue and its trace (Section 4.2).

The L of Theorem 4.1 bounds the magnitude of every eigenvalue of the Hessian; the contour of the
loss stands in for it in the paper, and here it is measured at the centre.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from results_schema.surface import LANCZOS_STEPS, TRACE_PROBES
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
        smallest_converged: Whether `smallest_residual` did; iterations end when `converged` holds,
            whether or not this does.
    """

    largest: float
    residual: float
    smallest: float
    smallest_residual: float
    iterations: int
    converged: bool
    smallest_converged: bool

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
    smallest_converged=False,
)


class Lanczos:
    """Finds the ends of the spectrum by Lanczos's method, one product with the Hessian a step.

    Vectors of earlier steps are not kept, so that memory does not grow with the steps; without
    them eigenvalues may come up several times, which leaves the ends of the spectrum right.

    Args:
        hessian: At the trained weights.
        seed: Of the first vector.
        tolerance: Largest residual over the eigenvalue's magnitude, to stop early.
        iterations: Most steps; never more than there are parameters.

    Attributes:
        products: vᵀHv of each step's vector v: the tridiagonal matrix's diagonal.
        rests: Norm of what each step left of Hv: the entries beside the diagonal.
        found: The ends after the steps so far; NaN if the Hessian is not finite.
    """

    def __init__(
        self,
        hessian: Hessian,
        *,
        seed: int = 0,
        tolerance: float = 1e-3,
        iterations: int = LANCZOS_STEPS,
    ) -> None:
        self._hessian, self._tolerance = hessian, tolerance
        self._most = min(iterations, hessian.size)
        vector = hessian.random(derive(seed, "lanczos"))
        self._vector = vector / vector.norm()
        self._before = torch.zeros_like(vector)
        self.products: list[float] = []
        self.rests: list[float] = []
        self.found = _UNKNOWN

    @property
    def done(self) -> bool:
        """Whether no further step is to be made."""
        steps = len(self.products)
        if not steps:
            return not self._most
        # With nothing left, the vectors so far span all that the Hessian makes of them.
        ended = self.found.converged or not self.rests[-1] or not self._finite()
        return ended or steps >= self._most

    def step(self) -> None:
        """Make a step."""
        vector = self._vector
        rest = self.rests[-1] if self.rests else 0.0
        product = self._hessian.times(vector) - rest * self._before
        along = float(product @ vector)
        product -= along * vector
        self._note(along, float(product.norm()))
        if not self.done:
            self._before, self._vector = vector, product / self.rests[-1]

    def state(self) -> dict[str, Tensor]:
        """Return what the next step takes besides the numbers of those so far; empty if done."""
        if self.done or not self.products:
            return {}
        steps = torch.tensor(len(self.products))
        return {"steps": steps, "before": self._before.cpu(), "vector": self._vector.cpu()}

    def resume(
        self, products: Sequence[float], rests: Sequence[float], state: dict[str, Tensor]
    ) -> int:
        """Go back to where an earlier run was.

        Args:
            products: Of that run's steps.
            rests: Likewise.
            state: Of `state`, after the same step or an earlier one; empty if there is none.

        Returns:
            The number of steps that need not be made again.
        """
        for numbers in zip(products, rests, strict=True):
            self._note(*numbers)
        if self.done:
            return len(self.products)
        steps = int(state["steps"]) if state else 0
        if steps > len(products) or any(
            state[name].shape != self._vector.shape for name in ("before", "vector") if state
        ):
            steps = 0
        self.products, self.rests, self.found = [], [], _UNKNOWN
        for numbers in zip(products[:steps], rests[:steps], strict=True):
            self._note(*numbers)
        if steps:
            self._before, self._vector = (
                state[name].to(self._vector) for name in ("before", "vector")
            )
        return steps

    def _finite(self) -> bool:
        return math.isfinite(self.products[-1]) and math.isfinite(self.rests[-1])

    def _note(self, along: float, rest: float) -> None:
        """Take down a step's numbers."""
        self.products.append(along)
        self.rests.append(rest)
        if self._finite():
            self.found = _ends(self.products, self.rests[:-1], rest, self._tolerance)
        else:
            self.found = replace(_UNKNOWN, iterations=len(self.products))


class Probing:
    """Estimates the trace by Hutchinson's method, one product with the Hessian a probe.

    Args:
        hessian: At the trained weights.
        seed: Of the probes.
        tolerance: Largest standard error over the trace's magnitude, to stop early.
        probes: Most probes.

    Attributes:
        products: vᵀHv of each probe v so far; those of an earlier run may be put here.
    """

    def __init__(
        self,
        hessian: Hessian,
        *,
        seed: int = 0,
        tolerance: float = 0.05,
        probes: int = TRACE_PROBES,
    ) -> None:
        self._hessian, self._seed = hessian, seed
        self._tolerance, self._most = tolerance, probes
        self.products: list[float] = []

    @property
    def found(self) -> Trace:
        """The estimate so far; NaN if the Hessian is not finite, its error after one probe."""
        number = len(self.products)
        if not number or not all(map(math.isfinite, self.products)):
            return Trace(math.nan, math.nan, number, converged=False)
        mean = math.fsum(self.products) / number
        error = math.nan
        if number > 1:
            error = float(np.std(self.products, ddof=1)) / number**0.5
        enough = number >= _FEWEST_PROBES and error <= self._tolerance * abs(mean)
        return Trace(mean, error, number, converged=enough)

    @property
    def done(self) -> bool:
        """Whether no further probe is to be made."""
        lost = bool(self.products) and not math.isfinite(self.products[-1])
        return lost or len(self.products) >= self._most or self.found.converged

    def step(self) -> None:
        """Make a probe."""
        number = len(self.products)
        probe = self._hessian.random(derive(self._seed, "hutchinson", number), signs=True)
        self.products.append(float(self._hessian.times(probe) @ probe))


def eigenvalues(
    hessian: Hessian, *, seed: int = 0, tolerance: float = 1e-3, iterations: int = LANCZOS_STEPS
) -> Eigenvalues:
    """Return the ends of the spectrum; see `Lanczos`."""
    lanczos = Lanczos(hessian, seed=seed, tolerance=tolerance, iterations=iterations)
    while not lanczos.done:
        lanczos.step()
    return lanczos.found


def trace(
    hessian: Hessian, *, seed: int = 0, tolerance: float = 0.05, probes: int = TRACE_PROBES
) -> Trace:
    """Return the trace; see `Probing`."""
    probing = Probing(hessian, seed=seed, tolerance=tolerance, probes=probes)
    while not probing.done:
        probing.step()
    return probing.found


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
        smallest_converged=bool(residuals[0] <= tolerance * abs(values[0])),
    )
