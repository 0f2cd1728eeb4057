"""Theorem 4.2: block-wise smoothness of the narrowest cell; as printed, and as it holds.

The printed proof takes ∂f/∂W⁽ᵏ⁾ for unchanged while another block W⁽ⁱ⁾ moves, but all outputs
ŷ⁽ᵏ⁾ with k ≥ i move with it. With a gradient that is Lipschitz in z the same steps give

    L̂⁽ⁱ⁾ ≤ (Π_{j<i} λ⁽ʲ⁾)² · Σ_{k≥i} Π_{j=i+1..k} (λ⁽ʲ⁾)² · L,

where L is the Lipschitz constant in z times ‖E xxᵀ‖, which is ‖x‖² for a single input.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from workers.theory.cells import Cells, narrow, product
from workers.theory.objectives import Quadratic, Smooth


class Blocks(NamedTuple):
    """Smoothness of the narrow cell's blocks, [D, n] each.

    Attributes:
        true: The largest eigenvalue of the block's Hessian at the drawn weights: the Lipschitz
            constant itself for a quadratic f, at most that otherwise.
        printed: The right side of (9), with case I's constants.
        corrected: The right side of the bound above.
    """

    true: Tensor
    printed: Tensor
    corrected: Tensor


def block_smoothness(objective: Smooth, cells: Cells, norms: Tensor) -> Blocks:
    """The constants of all blocks beside both bounds.

    Args:
        objective: f.
        cells: Their weights and inputs.
        norms: λ, [D, n].
    """
    whole, each = objective.constants()
    spread = torch.linalg.matrix_norm(_second_moment(cells.inputs), 2)  # ‖E xxᵀ‖, [D]
    squares = norms.square()
    nodes = range(norms.shape[1])
    before = torch.stack([norms[:, :i].prod(1) for i in nodes], 1)
    after = torch.stack([1 + squares[:, i + 1 :].cumprod(1).sum(1) for i in nodes], 1)
    true = [block_hessian(objective, cells, i) for i in nodes]
    return Blocks(
        true=torch.stack([torch.linalg.eigvalsh(hessian)[:, -1] for hessian in true], 1),
        printed=before * each * spread[:, None],
        corrected=before.square() * after * (whole * spread)[:, None],
    )


def block_hessian(objective: Smooth, cells: Cells, node: int) -> Tensor:
    """The Hessian of the mean loss in one block of the narrow cell.

    z is linear in a single block, so that the Hessian of an instance is (Cᵀ H C) ⊗ (r rᵀ), r the
    node's input and C what its output does to z.

    Returns:
        Symmetric, [D, d², d²], rows of the block one after the other.
    """
    weights, inputs = cells
    draws, nodes, width, _ = weights.shape
    nothing = torch.zeros_like(weights[:, 0])
    moves = [product(weights, node + 1, k) if k >= node else nothing for k in range(nodes)]
    outputs = narrow(weights, inputs)
    bent = objective.curvature(outputs, torch.stack(moves, 1))
    read = torch.einsum("tij,tbj->tbi", product(weights, 0, node - 1), inputs)
    squares = read[..., :, None] * read[..., None, :]
    batch = inputs.shape[1]
    mean = bent.reshape(draws, batch, -1).mT @ squares.reshape(draws, batch, -1) / batch
    mean = mean.reshape(draws, width, width, width, width).transpose(2, 3)
    return mean.reshape(draws, width**2, width**2)


def _second_moment(inputs: Tensor) -> Tensor:
    return inputs.mT @ inputs / inputs.shape[1]


class Counterexample(NamedTuple):
    """One block against Theorem 4.2 as printed.

    Attributes:
        wide: L⁽²⁾ of case I.
        printed: λ⁽¹⁾ L⁽²⁾, the bound as printed.
        true: L̂⁽²⁾ of case II.
    """

    wide: float
    printed: float
    true: float


def counterexample() -> Counterexample:
    """n = 2, f = ½‖z‖², W⁽¹⁾ = diag(2, 1), x = e₁: here ŷ⁽²⁾ = W⁽²⁾ (2, 0)ᵀ, so that L̂⁽²⁾ = 4."""
    first = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    weights = torch.stack([first, torch.eye(2, dtype=torch.float64)])[None]
    cells = Cells(weights, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    norms = torch.linalg.matrix_norm(weights, 2)
    found = block_smoothness(Quadratic(1, 1, 2, 2, torch.Generator()), cells, norms)
    printed = float(found.printed[0, 1])
    return Counterexample(printed / float(norms[0, 0]), printed, float(found.true[0, 1]))
