"""What a trial is trained with: its images and its engine, on a device."""

from __future__ import annotations

from collections.abc import Callable

import torch

from results_schema.trial import TrialSpec
from workers.cells.cost import check_batches, check_image
from workers.data.images import Data, load
from workers.network.network import Network, build_network
from workers.training.engine import Engine


def set_up(
    spec: TrialSpec, device: torch.device, say: Callable[[str], None] = lambda line: None
) -> tuple[Data, Engine]:
    """The images, shared with other trials on the device, and an engine with fresh weights.

    Args:
        spec: The trial.
        device: From `device.choose`.
        say: See `Engine`.

    Raises:
        SpecError: The trial names a data set that is none, a network that can't be, or a batch size
            by which an epoch would fail at its end.
        DataError: The images can't be had.
        RuntimeError: The GPU is out of memory or broken.
    """
    data = load(spec.dataset, device).normalised_by(spec.recipe.statistics)
    auxiliary = spec.recipe.auxiliary > 0
    side = check_image(data.about.size, spec.network.stem_stride, auxiliary=auxiliary)
    check_batches(len(data.train), spec.recipe.batch_size, side, auxiliary=auxiliary)
    engine = Engine(fresh_network(spec, data).to(device), spec.recipe, spec.precision, say=say)
    return data, engine


def fresh_network(spec: TrialSpec, data: Data) -> Network:
    """A trial's network as it is before the first step, on the CPU.

    Args:
        spec: The trial.
        data: The trial's; tells the network's ends.

    Raises:
        SpecError: No network can be like that.
    """
    return build_network(
        spec.genotype,
        spec.network,
        in_channels=data.about.channels,
        classes=data.about.classes,
        seed=spec.seed,
        stem_stride=spec.network.stem_stride,
        auxiliary=spec.recipe.auxiliary > 0,
    )
