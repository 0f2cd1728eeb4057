"""Theorems 4.2 and 4.3: smoothness and gradient variance of the narrowest cell, block by block.

The printed proof of Theorem 4.2 assumes that ∂f/∂W⁽ᵏ⁾ does not change while another block W⁽ⁱ⁾
moves, but all outputs ŷ⁽ᵏ⁾ with k ≥ i move with it. With a gradient that is Lipschitz in z the same
steps give

    L̂⁽ⁱ⁾ ≤ (Π_{j<i} λ⁽ʲ⁾)² · Σ_{k≥i} Π_{j=i+1..k} (λ⁽ʲ⁾)² · L,

where L is the Lipschitz constant in z times ‖E xxᵀ‖, which is ‖x‖² for a single input. The shapes
[D, B, n, d] are those of `workers.theory.objectives`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from workers.theory.objectives import Cells, Objective, narrow, product, quadratic

Norm = Literal["fro", 2]


def spectral_norms(weights: Tensor) -> Tensor:
    """Return λ as the proof needs it: ‖W⁽ⁱ⁾‖₂, the largest singular value, [D, n]."""
    return torch.linalg.matrix_norm(weights, 2)


def spectral_radii(weights: Tensor) -> Tensor:
    """Return λ as the text defines it: the largest magnitude of an eigenvalue of W⁽ⁱ⁾, [D, n]."""
    return torch.linalg.eigvals(weights).abs().amax(-1)


class Blocks(NamedTuple):
    """Smoothness of the narrow cell's blocks, [D, n] each.

    The true one is the largest eigenvalue of the block's Hessian at the drawn weights: the
    Lipschitz constant itself for a quadratic f, at most that otherwise.
    """

    true: Tensor
    printed: Tensor  # the right side of (9), with case I's constants
    corrected: Tensor  # the right side of the bound above


def block_smoothness(objective: Objective, cells: Cells, norms: Tensor) -> Blocks:
    """Return the constants of all blocks beside both bounds, for a smooth f and λ, [D, n]."""
    assert objective.lipschitz is not None
    whole, each = objective.lipschitz()
    inputs = cells.inputs
    spread = torch.linalg.matrix_norm(inputs.mT @ inputs / inputs.shape[1], 2)  # ‖E xxᵀ‖, [D]
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


def block_hessian(objective: Objective, cells: Cells, node: int) -> Tensor:
    """Return the Hessian of the mean loss in one block of the narrow cell, [D, d², d²].

    z is linear in a single block, so that the Hessian of an instance is (Cᵀ H C) ⊗ (r rᵀ), with r
    the node's input and C what its output does to z. Rows of the block follow one another.
    """
    assert objective.curvature is not None
    weights, inputs = cells
    draws, nodes, width, _ = weights.shape
    zeros = torch.zeros_like(weights[:, 0])
    moves = [product(weights, node + 1, k) if k >= node else zeros for k in range(nodes)]
    bent = objective.curvature(narrow(weights, inputs), torch.stack(moves, 1))
    read = torch.einsum("tij,tbj->tbi", product(weights, 0, node - 1), inputs)
    squares = read[..., :, None] * read[..., None, :]
    batch = inputs.shape[1]
    mean = bent.reshape(draws, batch, -1).mT @ squares.reshape(draws, batch, -1) / batch
    mean = mean.reshape(draws, width, width, width, width).transpose(2, 3)
    return mean.reshape(draws, width**2, width**2)


class Counterexample(NamedTuple):
    """One block against Theorem 4.2 as printed."""

    wide: float  # L⁽²⁾ of case I
    printed: float  # λ⁽¹⁾ L⁽²⁾, the bound as printed
    true: float  # L̂⁽²⁾ of case II


def counterexample() -> Counterexample:
    """Return a case that violates (9): n = 2, f = ½‖z‖², W⁽¹⁾ = diag(2, 1) and x = e₁.

    There ŷ⁽²⁾ = W⁽²⁾ (2, 0)ᵀ, so that L̂⁽²⁾ = 4.
    """
    first = torch.diag(torch.tensor([2.0, 1.0], dtype=torch.float64))
    weights = torch.stack([first, torch.eye(2, dtype=torch.float64)])[None]
    cells = Cells(weights, torch.tensor([[[1.0, 0.0]]], dtype=torch.float64))
    norms = spectral_norms(weights)
    found = block_smoothness(quadratic(1, 1, 2, 2, torch.Generator()), cells, norms)
    printed = float(found.printed[0, 1])
    return Counterexample(printed / float(norms[0, 0]), printed, float(found.true[0, 1]))


def block_variances(left: Tensor, right: Tensor, norm: Norm = "fro") -> Tensor:
    """Return E‖G − E G‖² of the blocks' gradients G = l rᵀ over instances, [D, n].

    The norm of a matrix is "fro", which gives the trace of the covariance, or 2, the paper's.
    """
    means = torch.einsum("tbni,tbnj->tnij", left, right) / left.shape[1]
    if norm == 2:
        deviations = left[..., :, None] * right[..., None, :] - means[:, None]
        # The eigenvalues of a d×d Gram matrix take less time than an SVD of the matrix itself.
        return torch.linalg.eigvalsh(deviations @ deviations.mT)[..., -1].mean(1)
    squares = left.square().sum(3) * right.square().sum(3)
    return squares.mean(1) - means.square().sum((2, 3))


def theorem_4_3(variances: Tensor, norms: Tensor, *, sharp: bool = False) -> Tensor:
    """Return the right side of (13), n Σ_{k≥i} ((σ⁽ᵏ⁾/λ⁽ⁱ⁾) Π_{j≤k} λ⁽ʲ⁾)², [D, n].

    It takes (σ⁽ᵏ⁾)² of the wide cell and λ, [D, n]. With `sharp`, n is replaced by the number of
    terms, n − i + 1, which the proof allows.
    """
    nodes = range(norms.shape[1])
    bounds = []
    for i in nodes:
        # The division takes λ⁽ⁱ⁾ out of the product. Omitting the factor instead allows λ⁽ⁱ⁾ = 0.
        others = norms.square().clone()
        others[:, i] = 1
        terms = variances[:, i:] * others.cumprod(1)[:, i:]
        bounds.append((len(nodes[i:]) if sharp else len(nodes)) * terms.sum(1))
    return torch.stack(bounds, 1)
