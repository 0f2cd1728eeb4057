"""Variance over instances of their gradients, gathered parameter by parameter."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from workers.landscape.moments import Moments, squared_norms


class Gatherer(Protocol):
    """What takes the gradients of single instances, batch by batch."""

    def weight(self, name: str, gradients: Tensor) -> None:
        """Take a batch's gradients of a parameter of several dimensions, [n, P]; overwritten."""
        ...

    def vector(self, name: str, gradients: Tensor) -> None:
        """Take those of a parameter of one dimension, or of a part of it, [n, P]."""
        ...

    def close_batch(self) -> None:
        """End a batch: every parameter's gradients have been taken."""
        ...


@dataclass(frozen=True)
class Variance:
    """The trace of a covariance over instances.

    Attributes:
        value: (1/N) Σ_i ‖g_i − ḡ‖², with g_i instance i's gradient and ḡ their mean.
        standard_error: Of `value` as an estimate for the population that the instances were drawn
            from: the deviation of ‖g_i − ḡ‖² over instances, divided by √N. NaN where no second
            pass was made for it, or of a single instance.
        mean_norm: ‖ḡ‖, the norm of the mean loss's gradient.
        parameters: Number of entries of a gradient.
    """

    value: float
    standard_error: float
    mean_norm: float
    parameters: int


class Scatter:
    """Gathers the gradients of one point for their mean and variance.

    Nothing is read from the device before the end.
    """

    def __init__(self) -> None:
        self._weights: defaultdict[str, Moments] = defaultdict(Moments)
        self._vectors = Moments(by_entry=True)
        self._pending: list[tuple[str, Tensor]] = []
        self._entries: list[tuple[str, int]] = []

    def weight(self, name: str, gradients: Tensor) -> None:
        """See `Gatherer.weight`."""
        self._weights[name].add(gradients)

    def vector(self, name: str, gradients: Tensor) -> None:
        """See `Gatherer.vector`."""
        self._pending.append((name, gradients))

    def close_batch(self) -> None:
        """See `Gatherer.close_batch`."""
        # Small ones are many: one operation for all of them.
        self._vectors.add(torch.cat([part for _, part in self._pending], dim=1))
        self._entries = [(name, part.shape[1]) for name, part in self._pending]
        self._pending = []

    def means(self) -> tuple[dict[str, Tensor], Tensor]:
        """Return the mean gradient: of each weight by name, and of all vectors in a row."""
        return {name: m.mean for name, m in self._weights.items()}, self._vectors.mean

    def variances(self, distances: Distances | None = None) -> tuple[Variance, Variance]:
        """Return the variance over all parameters, and over those of several dimensions.

        Args:
            distances: Of the same instances; without them there is no standard error.
        """
        count = self._vectors.count
        moments = [*self._weights.values(), self._vectors]
        sums = torch.stack([torch.stack([m.scatter.sum(), m.mean.square().sum()]) for m in moments])
        scatters, squares = torch.stack([sums[:-1].sum(0), sums.sum(0)]).T.tolist()
        errors = [math.nan, math.nan] if distances is None else distances.standard_errors()
        sizes = [sum(m.mean.numel() for m in group) for group in (moments[:-1], moments)]
        weights, whole = (
            Variance(scatter / count, error, square**0.5, size)
            for scatter, square, error, size in zip(scatters, squares, errors, sizes, strict=True)
        )
        return whole, weights

    def by_parameter(self) -> dict[str, float]:
        """Return the variance of each parameter."""
        count = self._vectors.count
        names = list(self._weights)
        scatters = torch.stack([self._weights[name].scatter for name in names]).tolist()
        found = defaultdict(float, zip(names, scatters, strict=True))
        parts = self._vectors.scatter.split([size for _, size in self._entries])
        sums = torch.stack([part.sum() for part in parts]).tolist()
        for (name, _), scatter in zip(self._entries, sums, strict=True):
            found[name] += scatter
        return {name: scatter / count for name, scatter in found.items()}


class Distances:
    """Gathers ‖g_i − ḡ‖² of each instance, in a second pass over the same batches.

    The distances from a mean are known once the mean is, and the gradients of all instances at
    once are too many to be kept. Those from the mean of each batch would make the standard error
    depend on how many images are run at once.

    Args:
        scatter: Of the first pass.
    """

    def __init__(self, scatter: Scatter) -> None:
        self._means, self._vectors_mean = scatter.means()
        self._pending: list[Tensor] = []
        self._parts: list[Tensor] = []  # of the batch, one tensor a weight
        self._batches: list[Tensor] = []  # [2, n] each: over weights, over all

    def weight(self, name: str, gradients: Tensor) -> None:
        """See `Gatherer.weight`."""
        self._parts.append(squared_norms(gradients.sub_(self._means[name]), 1))

    def vector(self, name: str, gradients: Tensor) -> None:
        """See `Gatherer.vector`."""
        self._pending.append(gradients)

    def close_batch(self) -> None:
        """See `Gatherer.close_batch`."""
        together = torch.cat(self._pending, dim=1)
        vectors = squared_norms(together.sub_(self._vectors_mean), 1)
        weights = torch.stack(self._parts).sum(0)
        self._batches.append(torch.stack([weights, weights + vectors]))
        self._pending, self._parts = [], []

    def standard_errors(self) -> list[float]:
        """Return the standard errors of both variances: over weights, and over all."""
        found = torch.cat(self._batches, dim=1)
        count = found.shape[1]
        if count < 2:
            return [math.nan, math.nan]
        return (found.std(1) / count**0.5).tolist()
