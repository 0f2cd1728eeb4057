"""The decorators by which a plug-in adds what an experiment may name.

    import nas_sweep

    @nas_sweep.operation("mix_conv", version=1)
    def mix_conv(channels, stride, affine):
        ...

A version counts changes that change numbers: it is part of the identity of every trial that uses
the entry. Only the standard library is needed here, so that a plug-in imports on a bare worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

from results_schema.plugins import registry

Value = TypeVar("Value")
Decorator = Callable[[Value], Value]


def operation(
    name: str,
    version: int = 1,
    *,
    cost: Callable[[int, int, int], tuple[int, int]] | None = None,
    gradient: Callable[[Any, Any, Any], dict[str, Any]] | None = None,
) -> Decorator[Any]:
    """Add an operation for the edges of cells: a builder of modules (docs/plugins.md).

    Args:
        name: Its name in cells.
        version: Counts changes of its numbers.
        cost: Maps channels, stride and pixels of the output map to the number of parameters and the
            multiply-adds of one image; counted from the module by default.
        gradient: Maps the module, its input [n, C, H, W] and the gradient of its output to the
            gradients [n, …] of its parameters by name; from `torch.func` by default.
    """
    return registry("operation").decorator(name, version, cost=cost, gradient=gradient)


def dataset(name: str, version: int = 1, **about: Any) -> Decorator[Any]:
    """Add a dataset: a function that returns its arrays (docs/plugins.md)."""
    return registry("dataset").decorator(name, version, **about)


def optimizer(name: str, version: int = 1) -> Decorator[Any]:
    """Add an optimizer: a subclass of `workers.training.optimizers.Optimizer`."""
    return registry("optimizer").decorator(name, version)


def schedule(name: str, version: int = 1, *, options: tuple[str, ...] = ()) -> Decorator[Any]:
    """Add a learning-rate schedule: a function of first rate, epoch from 1, and epochs.

    It takes the fields of the recipe that are its `options` by keyword.
    """
    return registry("schedule").decorator(name, version, options=options)


def augmentation(name: str, version: int = 1) -> Decorator[Any]:
    """Add an augmentation: a function of a batch of images and a generator."""
    return registry("augmentation").decorator(name, version)


def figure(
    name: str,
    version: int = 1,
    *,
    tables: str | tuple[str, ...] = "trials",
    surfaces: str | tuple[str, ...] = (),
) -> Decorator[Any]:
    """Add a kind of figure: a function of `tables`, and of options by keyword (docs/plugins.md).

    An experiment with such a figure must measure the kinds `surfaces`.
    """
    return registry("figure").decorator(name, version, tables=tables, surfaces=surfaces)


def claim(
    name: str,
    version: int = 1,
    *,
    effect: str = "",
    smallest: float = math.nan,
    scale: str = "correlation",
) -> Decorator[Any]:
    """Add a test of claims: a function of x, y and strata, [n] each (docs/claims.md).

    Args:
        name: Its name in experiments.
        version: Counts changes of its numbers.
        effect: What its effect is called; its name by default.
        smallest: The smallest effect of interest, unless a claim gives its own.
        scale: How effects are written: "correlation", "number" or "points".
    """
    about = {"effect": effect or name, "smallest": smallest, "scale": scale}
    return registry("claim").decorator(name, version, **about)
