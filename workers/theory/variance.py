"""Theorem 4.3: the gradient variance of the narrowest cell, bounded by that of the widest."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Norm = Literal["fro", 2]


def block_variances(left: Tensor, right: Tensor, norm: Norm = "fro") -> Tensor:
    """E‖G − E G‖² of the blocks' gradients G = l rᵀ over instances, [D, n].

    Args:
        left: l, [D, B, n, d].
        right: r, [D, B, n, d].
        norm: Of a matrix: "fro" gives the trace of the covariance, 2 is the paper's.
    """
    means = torch.einsum("tbni,tbnj->tnij", left, right) / left.shape[1]
    if norm == 2:
        deviations = left[..., :, None] * right[..., None, :] - means[:, None]
        # Gram matrices of d×d have their eigenvalues sooner than the matrices their SVD.
        return torch.linalg.eigvalsh(deviations @ deviations.mT)[..., -1].mean(1)
    squares = left.square().sum(3) * right.square().sum(3)
    return squares.mean(1) - means.square().sum((2, 3))


def spectral_norms(weights: Tensor) -> Tensor:
    """λ as the proof needs it: ‖W⁽ⁱ⁾‖₂, the largest singular value, [D, n]."""
    return torch.linalg.matrix_norm(weights, 2)


def spectral_radii(weights: Tensor) -> Tensor:
    """λ as the text words it: the largest magnitude of an eigenvalue of W⁽ⁱ⁾, [D, n]."""
    return torch.linalg.eigvals(weights).abs().amax(-1)


def theorem_4_3(variances: Tensor, norms: Tensor, *, sharp: bool = False) -> Tensor:
    """The right side of (13): n Σ_{k≥i} ((σ⁽ᵏ⁾/λ⁽ⁱ⁾) Π_{j≤k} λ⁽ʲ⁾)².

    The division by λ⁽ⁱ⁾ only takes its factor out of the product, which is left out here from the
    start, so that λ⁽ⁱ⁾ = 0 is no exception.

    Args:
        variances: (σ⁽ᵏ⁾)² of the wide cell, [D, n].
        norms: λ, [D, n].
        sharp: Whether n is replaced by the number of terms, n − i + 1, which the proof allows.

    Returns:
        [D, n].
    """
    nodes = range(norms.shape[1])
    bounds = []
    for i in nodes:
        others = norms.square().clone()
        others[:, i] = 1
        terms = variances[:, i:] * others.cumprod(1)[:, i:]
        bounds.append((len(nodes[i:]) if sharp else len(nodes)) * terms.sum(1))
    return torch.stack(bounds, 1)
