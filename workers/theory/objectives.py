"""Objectives behind a cell: what f makes of its concatenated outputs z.

Each is drawn anew for each cell. Those whose gradient is Lipschitz in z know the constant, which
Theorem 4.2 asks for.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

CLASSES = 10
HIDDEN = 32


class Objective(Protocol):
    """f of D cells at once."""

    def losses(self, outputs: Tensor) -> Tensor:
        """f at the outputs [D, B, n, d] of each instance, [D, B]."""
        ...


class Smooth(Objective, Protocol):
    """f whose gradient is Lipschitz."""

    def constants(self) -> tuple[Tensor, Tensor]:
        """Lipschitz constants of ∇f: in all of z, [D], and in each node's outputs alone, [D, n]."""
        ...

    def curvature(self, outputs: Tensor, moves: Tensor) -> Tensor:
        """Cᵀ H C of each instance, [D, B, d, d].

        H is the Hessian of f in z, and z moves by C v if a node's output moves by v.

        Args:
            outputs: [D, B, n, d].
            moves: C by node, [D, n, d, d].
        """
        ...


class Linear:
    """f = ⟨c, z⟩ with one Gaussian c: its gradient is the same wherever it is taken."""

    def __init__(self, draws: int, batch: int, nodes: int, width: int, generator: torch.Generator):
        self._slope = _normal(draws, nodes, width, generator=generator)

    def losses(self, outputs: Tensor) -> Tensor:
        """See `Objective.losses`."""
        return torch.einsum("tbni,tni->tb", outputs, self._slope)


class Quadratic:
    """f = ½‖z − t‖² with a Gaussian target t for each instance."""

    def __init__(self, draws: int, batch: int, nodes: int, width: int, generator: torch.Generator):
        self._targets = _normal(draws, batch, nodes, width, generator=generator)

    def losses(self, outputs: Tensor) -> Tensor:
        """See `Objective.losses`."""
        return 0.5 * (outputs - self._targets).square().sum((2, 3))

    def constants(self) -> tuple[Tensor, Tensor]:
        """See `Smooth.constants`: H is the identity."""
        draws, _, nodes, _ = self._targets.shape
        ones = torch.ones(draws, nodes, dtype=torch.float64)
        return ones[:, 0], ones

    def curvature(self, outputs: Tensor, moves: Tensor) -> Tensor:
        """See `Smooth.curvature`."""
        found = torch.einsum("tnij,tnik->tjk", moves, moves)
        return found[:, None].expand(-1, outputs.shape[1], -1, -1)


class CrossEntropy:
    """Softmax cross-entropy of the logits V z, with random labels."""

    def __init__(self, draws: int, batch: int, nodes: int, width: int, generator: torch.Generator):
        scale = (nodes * width) ** -0.5
        self._head = scale * _normal(draws, CLASSES, nodes, width, generator=generator)
        self._labels = torch.randint(CLASSES, (draws, batch), generator=generator)

    def losses(self, outputs: Tensor) -> Tensor:
        """See `Objective.losses`."""
        logits = self._logits(outputs)
        return functional.cross_entropy(logits.mT, self._labels, reduction="none")

    def constants(self) -> tuple[Tensor, Tensor]:
        """See `Smooth.constants`: the Hessian in the logits, diag p − ppᵀ, is at most ½."""
        whole = torch.linalg.matrix_norm(self._head.flatten(2), 2)
        each = torch.linalg.matrix_norm(self._head.transpose(1, 2), 2)
        return 0.5 * whole.square(), 0.5 * each.square()

    def curvature(self, outputs: Tensor, moves: Tensor) -> Tensor:
        """See `Smooth.curvature`."""
        chances = self._logits(outputs).softmax(-1)  # [D, B, classes]
        slopes = torch.einsum("tcni,tnij->tcj", self._head, moves)
        middle = torch.einsum("tbc,tcj->tbj", chances, slopes)
        squares = torch.einsum("tbc,tcj,tck->tbjk", chances, slopes, slopes)
        return squares - middle[..., :, None] * middle[..., None, :]

    def _logits(self, outputs: Tensor) -> Tensor:
        return torch.einsum("tcni,tbni->tbc", self._head, outputs)


class Rectified:
    """Softmax cross-entropy behind a hidden layer of ReLUs; its gradient jumps, so it has no L."""

    def __init__(self, draws: int, batch: int, nodes: int, width: int, generator: torch.Generator):
        scale = (nodes * width) ** -0.5
        self._first = scale * _normal(draws, HIDDEN, nodes, width, generator=generator)
        self._last = CrossEntropy(draws, batch, 1, HIDDEN, generator)

    def losses(self, outputs: Tensor) -> Tensor:
        """See `Objective.losses`."""
        hidden = torch.einsum("thni,tbni->tbh", self._first, outputs).relu()
        return self._last.losses(hidden[:, :, None])


OBJECTIVES = {
    "linear": Linear,
    "quadratic": Quadratic,
    "cross-entropy": CrossEntropy,
    "ReLU network": Rectified,
}
"""By name; each is made from D, B, n, d and a generator."""

SMOOTH = {"quadratic": Quadratic, "cross-entropy": CrossEntropy}
"""Those of a known Lipschitz constant above 0."""


def _normal(*shape: int, generator: torch.Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
