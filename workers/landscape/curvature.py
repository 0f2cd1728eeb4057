"""Curvature at the trained weights: the Hessian's extreme eigenvalues and its trace (Section 4.2).

The L of Theorem 4.1 bounds the magnitude of every eigenvalue of the Hessian. The paper judges it by
the contour of the loss; here it is measured at the centre. The Hessian is never formed: everything
is computed from its products with vectors.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from results_schema.surface import LANCZOS_STEPS, TRACE_PROBES
from workers.draws import derive
from workers.landscape import contour
from workers.landscape.grid import Grid
from workers.landscape.instances import Instances, Row, exact
from workers.landscape.measures import Case, Measure
from workers.landscape.plane import draw_directions, live_parameters

BATCH = 80
_FEWEST_PROBES = 8  # a standard error of fewer is itself too uncertain to stop by


class Hessian:
    """The Hessian of the mean cross-entropy at the trained weights.

    Over all parameters that an evaluation reads, one-dimensional ones too, with the running
    statistics of batch normalisation and without the auxiliary head. The network is not changed.

    Attributes:
        size: P, the number of parameters.
    """

    def __init__(self, network: nn.Module, instances: Instances) -> None:
        self._instances = instances
        own = copy.deepcopy(network).eval().to(instances.dtype)
        # Channels last, a strided pointwise convolution's second derivative aborts (torch 2.15).
        self._network = own.to(memory_format=torch.contiguous_format)
        self._weights = list(live_parameters(self._network).values())
        self.size = sum(weight.numel() for weight in self._weights)

    def times(self, vector: Tensor) -> Tensor:
        """Return H v, the gradient of ⟨∇f, v⟩; v is float64 [P], ordered as `live_parameters`."""
        parts = vector.split([weight.numel() for weight in self._weights])
        pieces = [
            part.view_as(weight).to(weight.dtype)
            for part, weight in zip(parts, self._weights, strict=True)
        ]
        total = torch.zeros_like(vector)
        with exact(vector.device):
            for images, labels in self._instances:
                loss = self._instances.loss(self._network(images.contiguous()), labels)
                slopes = self._gradients(loss, create_graph=True)
                products = [(s * p).sum() for s, p in zip(slopes, pieces, strict=True)]
                slope = torch.stack(products).sum()  # ⟨∇f, v⟩
                # With noise in front of every weight the gradient is 0 and has no graph; so is H.
                bends = self._gradients(slope) if slope.requires_grad else slopes
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


class Lanczos:
    """Finds the ends of the spectrum by Lanczos's method, one product with the Hessian a step.

    Earlier vectors are not kept, so that memory does not grow with the steps. Without
    reorthogonalisation an eigenvalue may be found several times, which does not change the ends.
    The larger magnitude of the two ends is the L of the loss at this point.

    An end has converged where its residual is within the tolerance times the eigenvalue's
    magnitude. Steps stop when the top one has, whether or not the bottom one has, after so many
    `iterations`, or after as many as there are parameters.

    Attributes:
        products: vᵀHv of each step's vector v: the diagonal of the tridiagonal matrix.
        rests: Norm of what remains of Hv after each step: the entries beside the diagonal.
        found: The ends by value, columns of `tables.SURFACES`; NaN where the Hessian is not finite.
            A residual is ‖H v − λ v‖ of the unit eigenvector v, which bounds the distance to some
            eigenvalue.
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
        self._set([], [])

    def _set(self, products: Sequence[float], rests: Sequence[float]) -> None:
        self.products, self.rests = list(products), list(rests)
        self.found = self._ends()

    def _ends(self) -> Row:
        values = residuals = np.array([math.nan])
        if self.products and self._finite:
            beside = self.rests[:-1]
            matrix = np.diag(self.products) + np.diag(beside, 1) + np.diag(beside, -1)
            values, vectors = np.linalg.eigh(matrix)
            # A Ritz vector's residual in the whole space follows from its last entry alone.
            residuals = np.abs(self.rests[-1] * vectors[-1])
        converged = residuals <= self._tolerance * np.abs(values)
        return {
            "top_eigenvalue": float(values[-1]),
            "top_residual": float(residuals[-1]),
            "bottom_eigenvalue": float(values[0]),
            "bottom_residual": float(residuals[0]),
            "eigen_iterations": len(self.products),
            "eigen_converged": bool(converged[-1]),
            "bottom_converged": bool(converged[0]),
        }

    @property
    def done(self) -> bool:
        """Whether no step remains."""
        steps = len(self.products)
        if not steps or steps >= self._most:
            return steps >= self._most
        # With a rest of 0 the vectors span an invariant subspace: no further step can leave it.
        return not self.rests[-1] or not self._finite or self.found["eigen_converged"]

    def step(self) -> Row:
        """Make a step and return its `product` and `rest`."""
        vector, step = self._vector, len(self.products)
        rest = self.rests[-1] if self.rests else 0.0
        product = self._hessian.times(vector) - rest * self._before
        along = float(product @ vector)
        product -= along * vector
        self._set([*self.products, along], [*self.rests, float(product.norm())])
        if not self.done:
            self._before, self._vector = vector, product / self.rests[-1]
        return {"step": step, "product": along, "rest": self.rests[-1]}

    def state(self) -> dict[str, Tensor]:
        """Return the vectors that the next step needs; empty before the first and at the end."""
        if self.done or not self.products:
            return {}
        steps = torch.tensor(len(self.products))
        return {"steps": steps, "before": self._before.cpu(), "vector": self._vector.cpu()}

    def resume(
        self, products: Sequence[float], rests: Sequence[float], state: dict[str, Tensor]
    ) -> int:
        """Restore an earlier run and return how many of its steps need not be made again.

        `state` is what `state` returned after the same step or an earlier one; empty if lost.
        """
        self._set(products, rests)
        if self.done:
            return len(products)
        steps = int(state["steps"]) if state else 0
        # A state that is ahead of the rows, or of another network, would continue another run.
        if steps > len(products) or any(
            state[name].shape != self._vector.shape for name in ("before", "vector") if state
        ):
            steps = 0
        self._set(products[:steps], rests[:steps])
        if steps:
            self._before = state["before"].to(self._vector)
            self._vector = state["vector"].to(self._vector)
        return steps

    @property
    def _finite(self) -> bool:
        return math.isfinite(self.products[-1]) and math.isfinite(self.rests[-1])


class Hutchinson:
    """Estimates the trace as the mean of vᵀHv over probes v of random signs (Hutchinson).

    Probing stops after so many `probes`, or where the standard error is within the tolerance times
    the trace's magnitude. Set `products`, those of the probes so far, to an earlier run's to resume
    it.
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
    def found(self) -> Row:
        """The estimate so far, columns of `tables.SURFACES`; NaN if the Hessian is not finite."""
        number, mean, error = len(self.products), math.nan, math.nan
        if number and all(map(math.isfinite, self.products)):
            mean = math.fsum(self.products) / number
            if number > 1:
                error = float(np.std(self.products, ddof=1)) / number**0.5
        return {
            "trace": mean,
            "trace_standard_error": error,
            "trace_probes": number,
            "trace_converged": number >= _FEWEST_PROBES and error <= self._tolerance * abs(mean),
        }

    @property
    def done(self) -> bool:
        """Whether no probe remains."""
        lost = bool(self.products) and not math.isfinite(self.products[-1])
        return lost or len(self.products) >= self._most or self.found["trace_converged"]

    def step(self) -> Row:
        """Make a probe and return its `product`."""
        step = len(self.products)
        probe = self._hessian.random(derive(self._seed, "hutchinson", step), signs=True)
        self.products.append(float(self._hessian.times(probe) @ probe))
        return {"step": step, "product": self.products[-1]}


def run(estimate: Lanczos | Hutchinson) -> Row:
    """Make all steps that remain and return what is `found`."""
    while not estimate.done:
        estimate.step()
    return estimate.found


class _CurvatureMeasure(Measure):
    """The centre's loss, then the products of Lanczos's method and of Hutchinson's."""

    def __init__(self, case: Case) -> None:
        super().__init__(case)
        network, seed = case.network, case.spec.seed
        # The loss at the centre is taken as a contour takes it, so that both kinds agree on it.
        directions = draw_directions(network, seed)
        self._contour = contour.Contour(network, directions, case.instances(contour.BATCH))
        self._hessian = Hessian(network, case.instances(BATCH))
        self._lanczos = Lanczos(self._hessian, seed=seed)
        self._hutchinson = Hutchinson(self._hessian, seed=seed)
        self._centre: Row | None = None

    def resume(self, rows: Sequence[Row], state: dict[str, Tensor]) -> list[Row]:
        steps = [row for row in rows if row["probe"] == "eigenvalues"]
        done = self._lanczos.resume(
            [row["product"] for row in steps], [row["rest"] for row in steps], state
        )
        self._hutchinson.products = [row["product"] for row in rows if row["probe"] == "trace"]
        self._centre = next((row for row in rows if row["probe"] is None), None)
        # A step without its vectors cannot be continued from: its row is dropped and made again.
        lost = [row["step"] for row in steps[done:]]
        return [row for row in rows if row["probe"] != "eigenvalues" or row["step"] not in lost]

    def missing(self) -> Iterator[Row]:
        [point] = Grid(1, 1).points()
        if self._centre is None:
            self._centre = point.place() | self._contour.at(point.alpha, point.beta)
            yield dict(self._centre)
        common = point.place() | {name: self._centre[name] for name in ("loss", "accuracy")}
        for probe, estimate in (("eigenvalues", self._lanczos), ("trace", self._hutchinson)):
            while not estimate.done:
                yield common | {"probe": probe} | estimate.step()

    def state(self) -> dict[str, Tensor]:
        return self._lanczos.state()

    def summary(self, rows: Sequence[Row]) -> Row:
        found = self._lanczos.found | self._hutchinson.found
        size = self._hessian.size
        return found | {"loss": rows[0]["loss"], "parameters": size, "notes": "{}"}
