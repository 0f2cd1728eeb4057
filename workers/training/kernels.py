"""Which kernels a trial's network runs by, chosen before its first step."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from results_schema.trial import TrialSpec
from workers.data.batches import normalise
from workers.data.images import Data
from workers.network.network import Network
from workers.network.tuning import tune


def choose_kernels(
    network: Network, spec: TrialSpec, data: Data, say: Callable[[str], None]
) -> None:
    """Tunes a network on a GPU, on a batch as its trial has them; on a CPU all is fixed.

    Args:
        network: On its device, before any step is captured.
        spec: The trial.
        data: On the same device.
        say: Told in one line what was chosen.

    Raises:
        RuntimeError: The GPU is out of memory or broken.
    """
    pixels = data.train.pixels[: spec.recipe.batch_size]
    if not pixels.is_cuda:
        return
    deterministic = torch.are_deterministic_algorithms_enabled()
    images = normalise(pixels, data.about)
    say(tune(network, images, spec.precision, deterministic, planned_steps(spec, data)))


def planned_steps(spec: TrialSpec, data: Data) -> int:
    """Of the whole trial; the last batch of an epoch takes what is left."""
    return spec.recipe.epochs * math.ceil(len(data.train) / spec.recipe.batch_size)
