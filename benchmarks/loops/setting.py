"""What every loop trains alike, so that only the loops differ."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.backends import cudnn

from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data.catalog import describe
from workers.data.images import Data, load
from workers.network.network import Network, build_network


@dataclass(frozen=True)
class Setting:
    """A training job: images, network, recipe, device.

    Attributes:
        device: Where the network is trained.
        dataset: As `workers.data` knows it; its training images are trained on.
        genotype: Name of a published cell.
        size: Of the network.
        recipe: Section 4's, without cutout, auxiliary head and drop path, which not every loop has.
        seed: Of weights and draws.
    """

    device: torch.device
    dataset: str = "synthetic"
    genotype: str = "DARTS"
    size: NetworkSpec = field(default_factory=NetworkSpec)
    recipe: Recipe = field(default_factory=Recipe)
    seed: int = 0

    def data(self, device: torch.device | None = None) -> Data:
        """The data set, on the setting's device or on another."""
        return load(self.dataset, device or self.device)

    def network(self) -> Network:
        """The network that every loop begins with, on the device."""
        about = self.data(torch.device("cpu")).about
        network = build_network(
            named(self.genotype),
            self.size,
            in_channels=about.channels,
            classes=about.classes,
            seed=self.seed,
            stem_stride=self.size.stem_stride,
        )
        return network.to(self.device)

    def spec(self, precision: str) -> TrialSpec:
        """The trial that the job is, as a sweep would name it."""
        return TrialSpec(
            genotype=named(self.genotype),
            dataset=self.dataset,
            preprocessing=describe(self.dataset).preprocessing,
            network=self.size,
            recipe=self.recipe,
            learning_rate=0.025,
            seed=self.seed,
            precision=precision,
        )

    def wait(self) -> None:
        """Returns when the device has done all that it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


class Loop(Protocol):
    """A way to train."""

    @property
    def name(self) -> str:
        """As tables write it."""
        ...

    @property
    def networks(self) -> int:
        """How many it trains at once."""
        ...

    def epoch(self, number: int, rate: float) -> float:
        """Trains every network on every image once.

        Args:
            number: From 1.
            rate: The learning rate.

        Returns:
            The mean training loss over images and networks, read from the device.
        """
        ...


def as_torch_ships(device: torch.device) -> AbstractContextManager[object]:
    """Within it cuDNN may use TF32 and tunes its kernels, as published loops let it.

    `workers.training.device.choose` allows neither by itself: a trial's precision says which.
    """
    if device.type != "cuda":
        return nullcontext()
    return cudnn.flags(
        enabled=True, benchmark=True, benchmark_limit=10, deterministic=False, allow_tf32=True
    )


def half(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Autocast to bfloat16 if that is the precision; its cache would not outlive a step."""
    if precision != "bf16":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
