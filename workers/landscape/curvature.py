"""Curvature at the trained weights: the Hessian's extreme eigenvalues and its trace (Section 4.2).

The L of Theorem 4.1 bounds the magnitude of every eigenvalue of the Hessian. The paper judges it by
the contour of the loss; here it is measured at the centre. The Hessian is never formed: everything
is computed from its products with vectors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from results_schema.surface import LANCZOS_STEPS, TRACE_PROBES
from workers.draws import derive
from workers.landscape.contour import Instances, exact
from workers.landscape.layers import live_parameters
from workers.network.network import Network

_FEWEST_PROBES = 8  # a standard error of fewer is itself too uncertain to stop by


class Hessian:
    """The Hessian of the mean cross-entropy at the trained weights.

    Over all parameters that an evaluation reads, one-dimensional ones too, with the running
    statistics of batch normalisation and without the auxiliary head.

    Args:
        network: Network with its trained weights, on its device; it is not changed.
        images: [N, C, H, W], normalised.
        labels: int64 [N].
        dtype: Type of the arithmetic.
        batch: Most images run at once.

    Attributes:
        size: P, the number of parameters.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self, network: Network, images: Tensor, labels: Tensor, *, dtype: torch.dtype, batch: int
    ) -> None:
        # Channels last, the second derivative of a strided pointwise convolution aborts the process
        # on a CPU (seen in torch 2.15).
        layout = torch.contiguous_format
        self._instances = Instances(images, labels, dtype=dtype, batch=batch, layout=layout)
        self._network = copy.deepcopy(network).eval().to(dtype).to(memory_format=layout)
        self._weights = list(live_parameters(self._network).values())
        self.size = sum(weight.numel() for weight in self._weights)

    def times(self, vector: Tensor) -> Tensor:
        """Return H v, float64 [P]: the gradient of ⟨∇f, v⟩.

        Args:
            vector: v, float64 [P] on the network's device, in the order of `live_parameters`.
        """
        pieces = [
            piece.view(weight.shape).to(weight.dtype)
            for piece, weight in zip(
                vector.split([weight.numel() for weight in self._weights]),
                self._weights,
                strict=True,
            )
        ]
        total = torch.zeros_like(vector)
        with exact(vector.device):
            for images, labels in self._instances:
                logits = self._network(images).double()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                slopes = self._gradients(loss, create_graph=True)
                slope = torch.stack(  # ⟨∇f, v⟩, scalar
                    [(s * p).sum() for s, p in zip(slopes, pieces, strict=True)]
                ).sum()
                # With noise in front of every weight the gradient is 0 and has no graph; so is H.
                bends = self._gradients(slope) if slope.requires_grad else slopes
                # Batches are summed in float64, so that their number adds no rounding.
                total += torch.cat([bend.reshape(-1) for bend in bends]).double()
        return total / len(self._instances)

    def random(self, seed: int, *, signs: bool = False) -> Tensor:
        """Return a random vector, float64 [P]: standard normal, or ±1 with `signs`.

        It is drawn on the CPU, so that every device has the same.
        """
        draws = torch.Generator().manual_seed(seed)
        if signs:
            vector = torch.randint(2, (self.size,), generator=draws).double() * 2 - 1
        else:
            vector = torch.randn(self.size, generator=draws, dtype=torch.float64)
        return vector.to(self._weights[0].device)

    def _gradients(self, value: Tensor, *, create_graph: bool = False) -> Sequence[Tensor]:
        # The loss may be linear in a weight: its second derivative is 0, not missing.
        found = torch.autograd.grad(
            value, self._weights, create_graph=create_graph, materialize_grads=True
        )
        return [gradient.contiguous() for gradient in found]


@dataclass(frozen=True)
class Eigenvalues:
    """The two ends of the Hessian's spectrum, NaN where the Hessian is not finite.

    The larger of their magnitudes is the L of the loss at this point.

    Attributes:
        largest: The largest eigenvalue by value.
        residual: ‖H v − largest · v‖ of its unit eigenvector v, which bounds the distance to some
            eigenvalue.
        smallest: The smallest eigenvalue by value; negative at a saddle.
        smallest_residual: The same norm for `smallest`.
        iterations: Products with the Hessian.
        converged: Whether `residual` is within the tolerance.
        smallest_converged: Whether `smallest_residual` is; iterations end when `converged` holds,
            whether or not this does.
    """

    largest: float = math.nan
    residual: float = math.nan
    smallest: float = math.nan
    smallest_residual: float = math.nan
    iterations: int = 0
    converged: bool = False
    smallest_converged: bool = False


class Lanczos:
    """Finds the ends of the spectrum by Lanczos's method, one product with the Hessian a step.

    Earlier vectors are not kept, so that memory does not grow with the steps. Without
    reorthogonalisation an eigenvalue may be found several times, which does not change the ends.

    Args:
        hessian: Hessian at the trained weights.
        seed: Seed of the first vector.
        tolerance: Largest residual over the eigenvalue's magnitude at which iterations stop.
        iterations: Most steps; never more than there are parameters.

    Attributes:
        products: vᵀHv of each step's vector v: the diagonal of the tridiagonal matrix.
        rests: Norm of what remains of Hv after each step: the entries beside the diagonal.
        found: The ends after the steps so far.
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
        self.found = Eigenvalues()

    @property
    def done(self) -> bool:
        """Whether no step remains."""
        steps = len(self.products)
        if not steps:
            return not self._most
        # With a rest of 0 the vectors span an invariant subspace: no further step can leave it.
        ended = self.found.converged or not self.rests[-1] or not self._finite()
        return ended or steps >= self._most

    def step(self) -> None:
        """Make a step."""
        vector = self._vector
        rest = self.rests[-1] if self.rests else 0.0
        product = self._hessian.times(vector) - rest * self._before
        along = float(product @ vector)
        product -= along * vector
        self._append(along, float(product.norm()))
        # A rest of 0 or NaN must not be divided by; there is no next step then.
        if not self.done:
            self._before, self._vector = vector, product / self.rests[-1]

    def run(self) -> Eigenvalues:
        """Make all steps that remain and return the ends."""
        while not self.done:
            self.step()
        return self.found

    def state(self) -> dict[str, Tensor]:
        """Return the vectors that the next step needs; empty before the first and at the end."""
        if self.done or not self.products:
            return {}
        steps = torch.tensor(len(self.products))
        return {"steps": steps, "before": self._before.cpu(), "vector": self._vector.cpu()}

    def resume(
        self, products: Sequence[float], rests: Sequence[float], state: dict[str, Tensor]
    ) -> int:
        """Restore an earlier run.

        Args:
            products: `products` of that run.
            rests: `rests` of that run.
            state: What `state` returned after the same step or an earlier one; empty if lost.

        Returns:
            The number of steps that need not be made again.
        """
        # A run that ended is restored from its numbers alone: it needs no vectors.
        for numbers in zip(products, rests, strict=True):
            self._append(*numbers)
        if self.done:
            return len(self.products)
        steps = int(state["steps"]) if state else 0
        # A state that is ahead of the rows, or of another network, would continue another run.
        if steps > len(products) or any(
            state[name].shape != self._vector.shape for name in ("before", "vector") if state
        ):
            steps = 0
        self.products, self.rests, self.found = [], [], Eigenvalues()
        for numbers in zip(products[:steps], rests[:steps], strict=True):
            self._append(*numbers)
        if steps:
            self._before, self._vector = (
                state[name].to(self._vector) for name in ("before", "vector")
            )
        return steps

    def _finite(self) -> bool:
        return math.isfinite(self.products[-1]) and math.isfinite(self.rests[-1])

    def _append(self, along: float, rest: float) -> None:
        self.products.append(along)
        self.rests.append(rest)
        if self._finite():
            self.found = _ends(self.products, self.rests, self._tolerance)
        else:
            self.found = Eigenvalues(iterations=len(self.products))


def _ends(products: list[float], rests: list[float], tolerance: float) -> Eigenvalues:
    """Return the extreme eigenvalues of the tridiagonal matrix so far, with their residuals."""
    beside = rests[:-1]
    matrix = np.diag(products) + np.diag(beside, 1) + np.diag(beside, -1)
    values, vectors = np.linalg.eigh(matrix)
    # A Ritz vector's residual in the whole space, from its last entry: no vector is needed for it.
    residuals = np.abs(rests[-1] * vectors[-1])
    return Eigenvalues(
        largest=float(values[-1]),
        residual=float(residuals[-1]),
        smallest=float(values[0]),
        smallest_residual=float(residuals[0]),
        iterations=len(products),
        converged=bool(residuals[-1] <= tolerance * abs(values[-1])),
        smallest_converged=bool(residuals[0] <= tolerance * abs(values[0])),
    )


@dataclass(frozen=True)
class Trace:
    """The Hessian's trace.

    Attributes:
        value: The mean of vᵀ H v over probes v of random signs (Hutchinson).
        standard_error: Standard error of that mean; NaN of one probe.
        probes: Number of probes.
        converged: Whether the standard error is within the tolerance.
    """

    value: float
    standard_error: float
    probes: int
    converged: bool


class Hutchinson:
    """Estimates the trace by Hutchinson's method, one product with the Hessian a probe.

    Args:
        hessian: Hessian at the trained weights.
        seed: Seed of the probes.
        tolerance: Largest standard error over the trace's magnitude at which probing stops.
        probes: Most probes.

    Attributes:
        products: vᵀHv of each probe v so far; set it to those of an earlier run to resume.
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
        """The estimate so far; NaN if the Hessian is not finite."""
        number = len(self.products)
        if not number or not all(map(math.isfinite, self.products)):
            return Trace(math.nan, math.nan, number, converged=False)
        # An exact sum, so that the estimate does not depend on where a run was interrupted.
        mean = math.fsum(self.products) / number
        error = math.nan
        if number > 1:
            error = float(np.std(self.products, ddof=1)) / number**0.5
        enough = number >= _FEWEST_PROBES and error <= self._tolerance * abs(mean)
        return Trace(mean, error, number, converged=enough)

    @property
    def done(self) -> bool:
        """Whether no probe remains."""
        lost = bool(self.products) and not math.isfinite(self.products[-1])
        return lost or len(self.products) >= self._most or self.found.converged

    def step(self) -> None:
        """Make a probe."""
        # Each probe has a seed of its own, so that a resumed run draws the same ones.
        number = len(self.products)
        probe = self._hessian.random(derive(self._seed, "hutchinson", number), signs=True)
        self.products.append(float(self._hessian.times(probe) @ probe))

    def run(self) -> Trace:
        """Make all probes that remain and return the estimate."""
        while not self.done:
            self.step()
        return self.found
