"""Tensors on a plane: centre + α · first + β · second, computed for all of them at once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Plane:
    """Holds tensors in one flat buffer and moves them to any point in two additions.

    A point is computed in float64 and rounded once.

    Args:
        centre: The tensors at (0, 0).
        first: How far each moves per unit of α, in the shapes of `centre`.
        second: Likewise of β.
        dtype: Of the tensors at a point; they lie where those of `centre` lie.

    Attributes:
        tensors: Views of the buffer in the shapes of `centre`, four-dimensional ones channels last
            in memory; `move` changes them all. They are not set before the first move.
    """

    def __init__(
        self,
        centre: Sequence[Tensor],
        first: Sequence[Tensor],
        second: Sequence[Tensor],
        *,
        dtype: torch.dtype,
    ) -> None:
        self._vectors = [_flat(part) for part in (centre, first, second)]
        self._sum = torch.empty_like(self._vectors[0])
        self._buffer = self._sum if dtype == torch.float64 else self._sum.to(dtype)
        pieces = self._buffer.split([tensor.numel() for tensor in centre])
        self.tensors = [
            _view(piece, tensor.shape) for piece, tensor in zip(pieces, centre, strict=True)
        ]

    def move(self, alpha: float, beta: float) -> None:
        """Sets the tensors to those at (alpha, beta)."""
        centre, first, second = self._vectors
        torch.add(centre, first, alpha=alpha, out=self._sum).add_(second, alpha=beta)
        if self._buffer is not self._sum:
            self._buffer.copy_(self._sum)


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    ordered = [t.permute(0, 2, 3, 1) if t.dim() == 4 else t for t in tensors]
    return torch.cat([t.detach().double().reshape(-1) for t in ordered])


def _view(piece: Tensor, shape: torch.Size) -> Tensor:
    if len(shape) != 4:
        return piece.view(shape)
    out, inputs, height, width = shape
    return piece.view(out, height, width, inputs).permute(0, 3, 1, 2)
