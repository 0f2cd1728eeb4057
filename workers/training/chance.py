"""What a network draws while it trains, besides its data: dropped paths, and noise.

Each network has generators of its own, so that several train side by side in one process, and each
epoch begins from (seed, epoch, purpose), so that a resumed trial draws what it would have drawn.
"""

from __future__ import annotations

import torch

from results_schema.trial import Recipe
from workers.draws import derive
from workers.network.drop_path import DropPath
from workers.network.network import Network
from workers.network.operations import Noise


class Chance:
    """Seeds a network's draws.

    Args:
        network: On its device; its noise is drawn from here afterwards.
        recipe: Of drop path.

    Attributes:
        drop_path: To be given to the network in training, or None.
    """

    def __init__(self, network: Network, recipe: Recipe) -> None:
        device = next(network.parameters()).device
        self._recipe = recipe
        self._noise = torch.Generator(device)
        self.drop_path = DropPath(torch.Generator(device)) if recipe.drop_path else None
        for module in network.modules():
            if isinstance(module, Noise):
                module.generator = self._noise

    @property
    def generators(self) -> list[torch.Generator]:
        """All that a training step draws from."""
        return [self._noise, *([self.drop_path.generator] if self.drop_path else [])]

    def begin(self, seed: int, epoch: int) -> None:
        """Begins an epoch, from 1.

        Paths are dropped with a probability of p·e/E in epoch e = 0 … E − 1 (Section A.4), or of p
        in all.
        """
        recipe = self._recipe
        self._noise.manual_seed(derive(seed, "forward", epoch))
        if self.drop_path:
            self.drop_path.generator.manual_seed(derive(seed, "drop path", epoch))
            grown = (epoch - 1) / recipe.epochs if recipe.drop_path_growth == "linear" else 1.0
            self.drop_path.probability.fill_(recipe.drop_path * grown)
