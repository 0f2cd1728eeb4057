"""How long trials and surfaces will take: a rough guess, made before anything was measured.

On a CPU the arithmetic counts, done the faster the more channels there are. On a GPU a network of
this kind is bound by the launches of its kernels: a step takes a time for each cell, whatever the
cell's size.
"""

from __future__ import annotations

import math

from results_schema.genotype import Genotype
from results_schema.surface import SurfaceSpec
from results_schema.trial import NetworkSpec, TrialSpec
from workers.cells.cost import count_on
from workers.data.catalog import describe

BACKWARD = 2
"""Multiply-adds of a backward pass, in forward passes."""

CORE_SPEED = 2.5e10
"""Multiply-adds a second that one core nears with many channels; measured, like the next."""
HALF_SPEED_CHANNELS = 30
"""Channels at which a core does half as many."""
PASSES = {"contour": 1, "gradient_variance": 1 + BACKWARD, "curvature": 100 * 2 * (1 + BACKWARD)}
"""Forward passes, or as much work, of one point of a surface; curvature takes 100 products."""
EVALUATION_BATCH = 500
GPU_CELL_SECONDS = 1.6e-3
"""Of a training step, for each cell: 20 s an epoch of the paper's network; predicted."""


def multiply_adds(spec: TrialSpec) -> int:
    """Of a whole trial: forward and backward over training images, forward over the test set."""
    data = describe(spec.dataset)
    images = (1 + BACKWARD) * data.train + data.test
    return spec.recipe.epochs * images * _forward(spec.genotype, spec.network, spec.dataset)


def _forward(genotype: Genotype, network: NetworkSpec, dataset: str) -> int:
    """Of one image."""
    return count_on(genotype, network, dataset).multiply_adds


def seconds(spec: TrialSpec, device: str) -> float:
    """Of one trial that has the device, or the core, to itself."""
    if device == "cpu":
        return multiply_adds(spec) / _core_speed(spec)
    steps = math.ceil(describe(spec.dataset).train / spec.recipe.batch_size)
    return spec.recipe.epochs * steps * spec.network.cells * GPU_CELL_SECONDS


def _core_speed(spec: TrialSpec) -> float:
    channels = spec.network.channels
    return CORE_SPEED * channels / (channels + HALF_SPEED_CHANNELS)


def surface_seconds(surface: SurfaceSpec, device: str) -> float:
    """Of one surface that has the device, or the core, to itself."""
    spec = surface.trial
    data = describe(spec.dataset)
    whole = data.test if surface.split == "test" else data.train
    images = min(surface.subset or whole, whole)
    passes = PASSES[surface.kind] * surface.rows * surface.columns
    if device == "cpu":
        forward = _forward(spec.genotype, spec.network, spec.dataset)
        return passes * images * forward / _core_speed(spec)
    batches = math.ceil(images / EVALUATION_BATCH)
    return passes * batches * spec.network.cells * GPU_CELL_SECONDS / (1 + BACKWARD)
