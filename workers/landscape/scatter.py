"""Gathers the gradients of single instances, parameter by parameter, and tells their variance."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.landscape.moments import Moments


@dataclass(frozen=True)
class Variance:
    """The trace of a covariance over instances.

    Attributes:
        value: (1/N) Σ_i ‖g_i − ḡ‖², with g_i instance i's gradient and ḡ their mean.
        standard_error: Of `value` as an estimate for the population that the instances were drawn
            from: the deviation of ‖g_i − ḡ‖² over instances, divided by √N. Each distance is taken
            from the mean of the instance's own batch, n of N, and corrected by n/(n−1) · (N−1)/N
            for what that mean has of the instance itself. It is exact if one batch holds all; NaN
            where a batch has a single instance.
        mean_norm: ‖ḡ‖, the norm of the mean loss's gradient.
        parameters: Number of entries of a gradient.
    """

    value: float
    standard_error: float
    mean_norm: float
    parameters: int


class Scatter:
    """The gradients of one point, in batches: `weight` and `vector` in any order, `close_batch`.

    Nothing is read from the device before the end.
    """

    def __init__(self) -> None:
        self._weights: defaultdict[str, Moments] = defaultdict(Moments)
        self._vectors = Moments(by_entry=True)
        self._pending: list[tuple[str, Tensor]] = []
        self._distances: list[Tensor] = []  # of the batch, one tensor a weight
        self._batches: list[Tensor] = []  # [2, n] each: over weights, over all
        self._entries: list[tuple[str, int]] = []

    def weight(self, name: str, gradients: Tensor) -> None:
        """A batch's gradients of a parameter of several dimensions, [n, P]; overwritten."""
        self._distances.append(self._weights[name].add(gradients))

    def vector(self, name: str, gradients: Tensor) -> None:
        """Those of a parameter of one dimension, or of a part of it, [n, P]."""
        self._pending.append((name, gradients))

    def close_batch(self) -> None:
        """All parameters have been told."""
        # Small ones are many: one operation for all of them.
        vectors = self._vectors.add(torch.cat([part for _, part in self._pending], dim=1))
        weights = torch.stack(self._distances).sum(0)
        self._batches.append(torch.stack([weights, weights + vectors]))
        self._entries = [(name, part.shape[1]) for name, part in self._pending]
        self._pending, self._distances = [], []

    def variances(self) -> tuple[Variance, Variance]:
        """Over all parameters, and over those of several dimensions."""
        count = self._vectors.count
        moments = [*self._weights.values(), self._vectors]
        sums = torch.stack([torch.stack([m.scatter.sum(), m.mean.square().sum()]) for m in moments])
        scatters, squares = torch.stack([sums[:-1].sum(0), sums.sum(0)]).T.tolist()
        errors = self._errors(count)
        sizes = [sum(m.mean.numel() for m in group) for group in (moments[:-1], moments)]
        weights, whole = (
            Variance(scatter / count, error, square**0.5, size)
            for scatter, square, error, size in zip(scatters, squares, errors, sizes, strict=True)
        )
        return whole, weights

    def by_parameter(self) -> dict[str, float]:
        """The variance of each parameter."""
        count = self._vectors.count
        names = list(self._weights)
        scatters = torch.stack([self._weights[name].scatter for name in names]).tolist()
        found = defaultdict(float, zip(names, scatters, strict=True))
        parts = self._vectors.scatter.split([size for _, size in self._entries])
        sums = torch.stack([part.sum() for part in parts]).tolist()
        for (name, _), scatter in zip(self._entries, sums, strict=True):
            found[name] += scatter
        return {name: scatter / count for name, scatter in found.items()}

    def _errors(self, count: int) -> list[float]:
        """Standard errors over weights and over all."""
        sizes = [batch.shape[1] for batch in self._batches]
        if min(sizes) < 2:
            return [math.nan, math.nan]
        distances = torch.cat(
            [batch * (n / (n - 1)) for batch, n in zip(self._batches, sizes, strict=True)], dim=1
        )
        return (distances.std(1) * ((count - 1) / count / count**0.5)).tolist()
