"""How long trials will take: multiply-adds over a device's speed. Rough, and said to be so."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.progress import span
from results_schema.trial import TrialSpec
from workers.cells.cost import count
from workers.data.catalog import describe

BACKWARD = 2
"""Multiply-adds of a backward pass, in forward passes."""

SPEED = {"cpu": 2.0e10, "cuda": 4.2e12}
"""Multiply-adds a second of one trial at the paper's size: measured on one core of a server's
processor; predicted for one data-centre GPU (about 20 s an epoch of the paper's network)."""


def multiply_adds(spec: TrialSpec) -> int:
    """Of a whole trial: forward and backward over training images, forward over the test set."""
    data = describe(spec.dataset)
    cost = count(
        spec.genotype,
        spec.network,
        in_channels=data.channels,
        classes=data.classes,
        image=data.size,
    )
    images = (1 + BACKWARD) * data.train + data.test
    return spec.recipe.epochs * images * cost.multiply_adds


def duration(specs: Sequence[TrialSpec], device: str, side_by_side: int) -> str:
    """How long trials take on a device, such as `about 1.9 years on 2 CPU cores`."""
    seconds = sum(map(multiply_adds, specs)) / SPEED[device] / side_by_side
    unit = "CPU core" if device == "cpu" else "GPU"
    return f"about {span(seconds)} on {side_by_side} {unit}{'s' if side_by_side > 1 else ''}"
