"""Two cells of linear operations, the objectives behind them, and their gradients (Section C).

Case I is the widest cell, in which every node reads the input; case II the narrowest, a chain of
nodes. An objective f takes the nodes' concatenated outputs z. Many cells are drawn and computed
side by side: the first dimension of every tensor counts the D draws. A cell has n nodes of width d,
and B inputs stand for the data. All tensors are float64: weights W and ∂f/∂W are [D, n, d, d],
inputs x [D, B, d], outputs y and ∂f/∂y [D, B, n, d]. Nodes are counted from 0 here and from 1 in
the paper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional

CLASSES = 10
HIDDEN = 32


class Cells(NamedTuple):
    """Drawn cells, W⁽¹⁾ … W⁽ⁿ⁾, and their inputs x."""

    weights: Tensor
    inputs: Tensor


def draw_cells(
    draws: int, batch: int, nodes: int, width: int, *, gain: float, generator: Generator
) -> Cells:
    """Return D = `draws` cells of Gaussian weights, with B = `batch` Gaussian inputs each.

    A weight's standard deviation is gain/√d; a gain of 1 keeps the size of a product.
    """
    weights = _normal(draws, nodes, width, width, generator=generator) * (gain / width**0.5)
    return Cells(weights, _normal(draws, batch, width, generator=generator))


def wide(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return the nodes' outputs in case I, y⁽ⁱ⁾ = W⁽ⁱ⁾x, [D, B, n, d]."""
    return torch.einsum("tnij,tbj->tbni", weights, inputs)


def narrow(weights: Tensor, inputs: Tensor) -> Tensor:
    """Return the nodes' outputs in case II, ŷ⁽ⁱ⁾ = W⁽ⁱ⁾⋯W⁽¹⁾x, [D, B, n, d]."""
    outputs: list[Tensor] = []
    for weight in weights.unbind(1):
        inputs = torch.einsum("tij,tbj->tbi", weight, inputs)
        outputs.append(inputs)
    return torch.stack(outputs, 2)


def product(weights: Tensor, first: int, last: int) -> Tensor:
    """Return W⁽ˡᵃˢᵗ⁾⋯W⁽ᶠⁱʳˢᵗ⁾, [D, d, d]: the identity where `last` is before `first`."""
    found = torch.eye(weights.shape[-1], dtype=weights.dtype).expand_as(weights[:, 0])
    for node in range(first, last + 1):
        found = weights[:, node] @ found
    return found


def matched(weights: Tensor) -> Tensor:
    """Return U⁽ᵏ⁾ = W⁽ᵏ⁾⋯W⁽¹⁾, [D, n, d, d]: in case I they give the outputs of W in case II."""
    return torch.stack([product(weights, 0, node) for node in range(weights.shape[1])], 1)


class Objective(NamedTuple):
    """An objective f of the nodes' outputs z, [D, B, n, d].

    Attributes:
        losses: Returns f of each instance, [D, B].
        lipschitz: Returns the Lipschitz constants of ∇f: in z, [D], and in each node's outputs,
            [D, n]; None where ∇f jumps or does not change.
        curvature: Returns Cᵀ H C of each instance, [D, B, d, d], with H the Hessian of f in z, for
            outputs and C, [D, n, d, d]: z moves by C v where one node's output moves by v.
    """

    losses: Callable[[Tensor], Tensor]
    lipschitz: Callable[[], tuple[Tensor, Tensor]] | None = None
    curvature: Callable[[Tensor, Tensor], Tensor] | None = None


def linear(draws: int, batch: int, nodes: int, width: int, generator: Generator) -> Objective:
    """Return f = ⟨c, z⟩ with one Gaussian c: its gradient is the same at every z."""
    slope = _normal(draws, nodes, width, generator=generator)
    return Objective(lambda outputs: torch.einsum("tbni,tni->tb", outputs, slope))


def quadratic(draws: int, batch: int, nodes: int, width: int, generator: Generator) -> Objective:
    """Return f = ½‖z − t‖² with a Gaussian target t for each instance."""
    targets = _normal(draws, batch, nodes, width, generator=generator)

    def lipschitz() -> tuple[Tensor, Tensor]:
        ones = torch.ones(draws, nodes, dtype=torch.float64)  # the Hessian in z is the identity
        return ones[:, 0], ones

    def curvature(outputs: Tensor, moves: Tensor) -> Tensor:
        found = torch.einsum("tnij,tnik->tjk", moves, moves)
        return found[:, None].expand(-1, outputs.shape[1], -1, -1)

    return Objective(
        lambda outputs: 0.5 * (outputs - targets).square().sum((2, 3)), lipschitz, curvature
    )


def cross_entropy(
    draws: int, batch: int, nodes: int, width: int, generator: Generator
) -> Objective:
    """Return softmax cross-entropy of the logits V z, with random labels."""
    scale = (nodes * width) ** -0.5
    head = scale * _normal(draws, CLASSES, nodes, width, generator=generator)
    labels = torch.randint(CLASSES, (draws, batch), generator=generator)

    def logits(outputs: Tensor) -> Tensor:
        return torch.einsum("tcni,tbni->tbc", head, outputs)  # [D, B, classes]

    def losses(outputs: Tensor) -> Tensor:
        return functional.cross_entropy(logits(outputs).mT, labels, reduction="none")

    def lipschitz() -> tuple[Tensor, Tensor]:
        # The Hessian in the logits, diag p − ppᵀ, is at most ½.
        whole = torch.linalg.matrix_norm(head.flatten(2), 2)
        each = torch.linalg.matrix_norm(head.transpose(1, 2), 2)
        return 0.5 * whole.square(), 0.5 * each.square()

    def curvature(outputs: Tensor, moves: Tensor) -> Tensor:
        probabilities = logits(outputs).softmax(-1)  # [D, B, classes]
        slopes = torch.einsum("tcni,tnij->tcj", head, moves)
        mean = torch.einsum("tbc,tcj->tbj", probabilities, slopes)
        squares = torch.einsum("tbc,tcj,tck->tbjk", probabilities, slopes, slopes)
        return squares - mean[..., :, None] * mean[..., None, :]

    return Objective(losses, lipschitz, curvature)


def rectified(draws: int, batch: int, nodes: int, width: int, generator: Generator) -> Objective:
    """Return softmax cross-entropy after a hidden layer of ReLUs; its gradient jumps."""
    scale = (nodes * width) ** -0.5
    first = scale * _normal(draws, HIDDEN, nodes, width, generator=generator)
    last = cross_entropy(draws, batch, 1, HIDDEN, generator)

    def losses(outputs: Tensor) -> Tensor:
        hidden = torch.einsum("thni,tbni->tbh", first, outputs).relu()
        return last.losses(hidden[:, :, None])

    return Objective(losses)


OBJECTIVES = {
    "linear": linear,
    "quadratic": quadratic,
    "cross-entropy": cross_entropy,
    "ReLU network": rectified,
}
"""By name; each is drawn from D, B, n, d and a generator."""


def weight_gradients(
    objective: Objective, cell: Callable[[Tensor, Tensor], Tensor], weights: Tensor, inputs: Tensor
) -> Tensor:
    """Return ∂f/∂W of the mean over instances of a `wide` or `narrow` cell, by autograd."""
    weights = weights.detach().requires_grad_()
    loss = objective.losses(cell(weights, inputs)).mean(1).sum()
    return torch.autograd.grad(loss, weights)[0]


def output_gradients(objective: Objective, outputs: Tensor) -> Tensor:
    """Return ∂f/∂y of each instance by autograd, [D, B, n, d]."""
    outputs = outputs.detach().requires_grad_()
    return torch.autograd.grad(objective.losses(outputs).sum(), outputs)[0]


def equation_1(slopes: Tensor, inputs: Tensor) -> Tensor:
    """Return ∂f/∂W of case I from ∂f/∂y: the mean over instances of (∂f/∂y⁽ⁱ⁾) xᵀ."""
    return torch.einsum("tbni,tbj->tnij", slopes, inputs) / inputs.shape[1]


def equation_2(weights: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """Return case II: the mean of Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ (∂f̂/∂ŷ⁽ᵏ⁾) (Π_{j<i} W⁽ʲ⁾ x)ᵀ."""
    left, right = gradient_factors(weights, slopes, inputs)
    return torch.einsum("tbni,tbnj->tnij", left, right) / inputs.shape[1]


def equation_3(weights: Tensor, slopes: Tensor, inputs: Tensor) -> Tensor:
    """Return the same with xᵀ taken out: Σ_k (…)ᵀ (∂f̂/∂ŷ⁽ᵏ⁾) xᵀ (Π_{j<i} W⁽ʲ⁾)ᵀ."""
    return equation_4(weights, equation_1(slopes, inputs))


def equation_4(weights: Tensor, wide_gradients: Tensor) -> Tensor:
    """Return case II from case I: Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ (∂f/∂W⁽ᵏ⁾) (Π_{j<i} W⁽ʲ⁾)ᵀ."""
    nodes, found = range(weights.shape[1]), torch.zeros_like(weights)
    for i in nodes:
        for k in nodes[i:]:
            ahead, before = product(weights, i + 1, k), product(weights, 0, i - 1)
            found[:, i] += ahead.mT @ wide_gradients[:, k] @ before.mT
    return found


def gradient_factors(weights: Tensor, slopes: Tensor, inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return the two factors of each instance's gradient in case II, an outer product.

    They are Σ_k (Π_{j=i+1..k} W⁽ʲ⁾)ᵀ ∂f̂/∂ŷ⁽ᵏ⁾ and Π_{j<i} W⁽ʲ⁾ x, both [D, B, n, d].
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


def _normal(*shape: int, generator: Generator) -> Tensor:
    return torch.randn(*shape, generator=generator, dtype=torch.float64)
