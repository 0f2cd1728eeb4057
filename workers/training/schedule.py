"""The learning rate of each epoch (Section A.3)."""

from __future__ import annotations

import math

from results_schema.trial import Recipe


def cosine_rate(rate: float, epoch: int, epochs: int) -> float:
    """½·lr·(1 + cos(π e / E)) for e = epoch − 1 (Section A.3): lr at first, never quite 0."""
    return 0.5 * rate * (1 + math.cos(math.pi * (epoch - 1) / epochs))


def scheduled_rate(recipe: Recipe, rate: float, epoch: int) -> float:
    """The learning rate of an epoch, from 1, under the recipe's schedule."""
    if recipe.schedule == "constant":
        return rate
    shift = 1 if recipe.schedule == "cosine_shifted" else 0
    return cosine_rate(rate, epoch + shift, recipe.epochs)
