"""Gradients of the weights in both cells: by autograd, and by equations (1) to (4) (Section C)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from workers.theory.cells import product
from workers.theory.objectives import Objective


def by_autograd(
    objective: Objective, cell: Callable[[Tensor, Tensor], Tensor], weights: Tensor, inputs: Tensor
) -> Tensor:
    """∂f/∂W of the mean over instances, [D, n, d, d].

    Args:
        objective: f.
        cell: `cells.wide` or `cells.narrow`.
        weights: [D, n, d, d].
        inputs: [D, B, d].
    """
    weights = weights.detach().requires_grad_()
    loss = objective.losses(cell(weights, inputs)).mean(1).sum()
    return torch.autograd.grad(loss, weights)[0]


def at_outputs(objective: Objective, outputs: Tensor) -> Tensor:
    """∂f/∂y of each instance, [D, B, n, d]."""
    outputs = outputs.detach().requires_grad_()
    return torch.autograd.grad(objective.losses(outputs).sum(), outputs)[0]


def equation_1(slopes: Tensor, inputs: Tensor) -> Tensor:
    """Case I: (∂f/∂y⁽ⁱ⁾) xᵀ, the mean over instances.

    Args:
        slopes: ∂f/∂y, [D, B, n, d].
        inputs: [D, B, d].
    """
    return torch.einsum("tbni,tbj->tnij", slopes, inputs) / inputs.shape[1]


def equation_2(weights: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """Case II: Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ (∂f̂/∂ŷ⁽ᵏ⁾) (Π_{j<i} W⁽ʲ⁾ x)ᵀ, the mean over instances."""
    left, right = factors(weights, slopes, inputs)
    return torch.einsum("tbni,tbnj->tnij", left, right) / inputs.shape[1]


def equation_3(weights: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """Case II: the same with xᵀ taken out, Σ_k (…)ᵀ (∂f̂/∂ŷ⁽ᵏ⁾) xᵀ (Π_{j<i} W⁽ʲ⁾)ᵀ."""
    return equation_4(weights, equation_1(slopes, inputs))


def equation_4(weights: Tensor, wide_gradients: Tensor) -> Tensor:
    """Case II from case I: Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ (∂f/∂W⁽ᵏ⁾) (Π_{j<i} W⁽ʲ⁾)ᵀ.

    Args:
        weights: W of the narrow cell, [D, n, d, d].
        wide_gradients: ∂f/∂W of the wide cell, [D, n, d, d].
    """
    nodes = range(weights.shape[1])
    found = [
        sum(
            product(weights, i + 1, k).mT @ wide_gradients[:, k] @ product(weights, 0, i - 1).mT
            for k in nodes[i:]
        )
        for i in nodes
    ]
    return torch.stack([torch.as_tensor(block) for block in found], 1)


def factors(weights: Tensor, slopes: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Each instance's gradient in case II, which is an outer product, by its two factors.

    Returns:
        Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ ∂f̂/∂ŷ⁽ᵏ⁾ and Π_{j<i} W⁽ʲ⁾ x, both [D, B, n, d].
    """
    nodes = weights.shape[1]
    back = slopes[:, :, -1]
    left = [back]
    for node in range(nodes - 1, 0, -1):
        back = slopes[:, :, node - 1] + torch.einsum("tji,tbj->tbi", weights[:, node], back)
        left.append(back)
    ahead = inputs
    right = [ahead]
    for node in range(nodes - 1):
        ahead = torch.einsum("tij,tbj->tbi", weights[:, node], ahead)
        right.append(ahead)
    return torch.stack(left[::-1], 2), torch.stack(right, 2)


def relative_error(found: Tensor, truth: Tensor) -> Tensor:
    """‖found − truth‖ / ‖truth‖ of each block (Frobenius), [D, n]."""
    return (found - truth).norm(dim=(2, 3)) / truth.norm(dim=(2, 3))
