"""Products of the mean loss's Hessian with vectors, by differentiating twice."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from workers.landscape.instances import Instances
from workers.landscape.layers import live_parameters
from workers.landscape.precision import exact
from workers.network.network import Network


class Hessian:
    """The Hessian of the mean cross-entropy at the trained weights, never written out.

    Over all parameters that an evaluation reads, one-dimensional ones too, with the running
    statistics of batch normalisation and without the auxiliary head.

    Args:
        network: With its trained weights, on its device; it is left alone.
        images: [N, C, H, W], normalised.
        labels: int64 [N].
        dtype: Of the arithmetic.
        batch: Most images run at once.

    Attributes:
        size: P, the number of parameters.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self, network: Network, images: Tensor, labels: Tensor, *, dtype: torch.dtype, batch: int
    ) -> None:
        # Channels last, the second derivative of a strided pointwise convolution aborts the process
        # on a CPU (seen in torch 2.15).
        layout = torch.contiguous_format
        self._instances = Instances(images, labels, dtype=dtype, batch=batch, layout=layout)
        self._network = copy.deepcopy(network).eval().to(dtype).to(memory_format=layout)
        self._weights = list(live_parameters(self._network).values())
        self.size = sum(weight.numel() for weight in self._weights)

    def times(self, vector: Tensor) -> Tensor:
        """H v.

        Args:
            vector: float64 [P] on the network's device, in the order of `live_parameters`.
        """
        pieces = [
            piece.view(weight.shape).to(weight.dtype)
            for piece, weight in zip(
                vector.split([weight.numel() for weight in self._weights]),
                self._weights,
                strict=True,
            )
        ]
        total = torch.zeros_like(vector)
        with exact(vector.device):
            for images, labels in self._instances:
                logits = self._network(images).double()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                slopes = self._gradients(loss, create_graph=True)
                slope = torch.stack(
                    [(s * p).sum() for s, p in zip(slopes, pieces, strict=True)]
                ).sum()
                bends = self._gradients(slope) if slope.requires_grad else slopes
                total += torch.cat([bend.reshape(-1) for bend in bends]).double()
        return total / len(self._instances)

    def random(self, seed: int, *, signs: bool = False) -> Tensor:
        """A vector drawn on the CPU: standard normal, or of ±1 with `signs`; float64 [P]."""
        draws = torch.Generator().manual_seed(seed)
        if signs:
            vector = torch.randint(2, (self.size,), generator=draws).double() * 2 - 1
        else:
            vector = torch.randn(self.size, generator=draws, dtype=torch.float64)
        return vector.to(self._weights[0].device)

    def _gradients(self, value: Tensor, *, create_graph: bool = False) -> Sequence[Tensor]:
        found = torch.autograd.grad(
            value, self._weights, create_graph=create_graph, materialize_grads=True
        )
        return [gradient.contiguous() for gradient in found]
