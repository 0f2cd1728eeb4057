"""The widest and the narrowest cell of linear operations (Section 4.3, Figure 26).

Many cells are drawn and computed side by side. Of every tensor the first dimension counts the D
draws; a cell has n nodes of width d, and a population of B inputs stands for the data. Nodes are
counted from 0 here and from 1 in the paper.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Cells(NamedTuple):
    """Drawn cells and their inputs, float64.

    Attributes:
        weights: W⁽¹⁾ … W⁽ⁿ⁾, [D, n, d, d].
        inputs: x, [D, B, d].
    """

    weights: Tensor
    inputs: Tensor


def draw_cells(
    draws: int, batch: int, nodes: int, width: int, *, gain: float, generator: torch.Generator
) -> Cells:
    """Cells of Gaussian weights and Gaussian inputs.

    Args:
        draws: D.
        batch: B.
        nodes: n.
        width: d.
        gain: A weight's standard deviation is gain/√d, so that at 1 a product keeps its size.
        generator: Of all draws.
    """
    weights = torch.randn(draws, nodes, width, width, generator=generator, dtype=torch.float64) * (
        gain / width**0.5
    )
    inputs = torch.randn(draws, batch, width, generator=generator, dtype=torch.float64)
    return Cells(weights, inputs)


def wide(weights: Tensor, inputs: Tensor) -> Tensor:
    """Case I: every node reads the input, y⁽ⁱ⁾ = W⁽ⁱ⁾x.

    Returns:
        The nodes' outputs, [D, B, n, d].
    """
    return torch.einsum("tnij,tbj->tbni", weights, inputs)


def narrow(weights: Tensor, inputs: Tensor) -> Tensor:
    """Case II: every node reads the one before it, ŷ⁽ⁱ⁾ = W⁽ⁱ⁾⋯W⁽¹⁾x.

    Returns:
        The nodes' outputs, [D, B, n, d].
    """
    outputs: list[Tensor] = []
    for weight in weights.unbind(1):
        inputs = torch.einsum("tij,tbj->tbi", weight, inputs)
        outputs.append(inputs)
    return torch.stack(outputs, 2)


def product(weights: Tensor, first: int, last: int) -> Tensor:
    """Π W⁽ʲ⁾ of the nodes first … last, the highest leftmost; the identity if there are none.

    Returns:
        [D, d, d].
    """
    found = torch.eye(weights.shape[-1], dtype=weights.dtype).expand_as(weights[:, 0])
    for node in range(first, last + 1):
        found = weights[:, node] @ found
    return found


def matched(weights: Tensor) -> Tensor:
    """U⁽ᵏ⁾ = W⁽ᵏ⁾⋯W⁽¹⁾, with which the widest cell has the narrowest one's outputs.

    Returns:
        [D, n, d, d].
    """
    nodes = range(weights.shape[1])
    return torch.stack([product(weights, 0, node) for node in nodes], 1)
