"""Mean and scatter of vectors that come in batches, merged in float64 without cancellation.

Chan, Golub and LeVeque (1983): of two groups with n and n_b members, means m and m_b and scatters
M and M_b (sums of squared distances from the mean), the union's scatter is
M + M_b + ‖m_b − m‖² n n_b / (n + n_b).
"""

from __future__ import annotations

import torch
from torch import Tensor


class Moments:
    """Gathers vectors of one length.

    Attributes:
        count: How many.
        mean: float64 [P].
        scatter: Σ (x − mean)², float64 scalar; of each entry [P] with `by_entry`.
    """

    def __init__(self, *, by_entry: bool = False) -> None:
        self.count = 0
        self.mean = self.scatter = torch.zeros(())
        self._by_entry = by_entry

    def add(self, vectors: Tensor) -> None:
        """Add a batch.

        Args:
            vectors: [n, P], n ≥ 1; they are overwritten.
        """
        number = len(vectors)
        mean = vectors.mean(0)
        scatter = squared_norms(vectors.sub_(mean), 0 if self._by_entry else 1)
        if not self._by_entry:
            scatter = scatter.sum()
        mean = mean.double()
        if not self.count:
            self.mean, self.scatter = mean, scatter
        else:
            step = mean - self.mean
            between = step.square() if self._by_entry else step.dot(step)
            whole = self.count + number
            self.scatter = self.scatter + scatter + between * (self.count * number / whole)
            self.mean.add_(step, alpha=number / whole)
        self.count += number


def squared_norms(vectors: Tensor, dim: int) -> Tensor:
    """Return the squared norms along a dimension of a matrix, in float64.

    Args:
        vectors: They are overwritten.
        dim: The dimension that the norms are taken along.
    """
    # In units of the largest entry, so that no square overflows float32.
    unit = torch.maximum(-vectors.amin(), vectors.amax())
    unit = torch.where(unit > 0, unit, 1)
    norms = torch.linalg.vector_norm(vectors.div_(unit), dim=dim)
    return norms.double().mul_(unit.double()).square_()
