"""Loss and accuracy at points of a plane through the trained weights (Section 4.2).

s(α, β) = E_i f_i(w* + α w₁ + β w₂): the mean over a data set, with the running statistics of batch
normalisation as trained, and without drop path, cutout or the auxiliary head.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workers.landscape.directions import Directions
from workers.landscape.folding import FoldedNetwork
from workers.landscape.instances import Instances
from workers.landscape.precision import exact
from workers.network.network import Network


@dataclass(frozen=True)
class ContourPoint:
    """One point of a loss contour.

    Attributes:
        loss: Mean cross-entropy in nats; infinite or NaN where the arithmetic overflows.
        accuracy: Share of images whose largest logit is their label's.
    """

    loss: float
    accuracy: float


class Contour:
    """Measures the loss at any point.

    The whole data set stays on the network's device. Weights at a point are computed in float64 and
    rounded to `dtype`; logits are widened to float64 before the loss, which is added up in it.

    Args:
        network: With its trained weights, on its device.
        directions: The plane's axes.
        images: [N, C, H, W], normalised.
        labels: int64 [N].
        dtype: float32, float64, or bfloat16 for a preview (errors of some per cent).
        batch: Most images run at once.

    Raises:
        DataError: There is no image, or not one label for each.
        SpecError: A batch holds less than one image.
    """

    def __init__(
        self,
        network: Network,
        directions: Directions,
        images: Tensor,
        labels: Tensor,
        *,
        dtype: torch.dtype = torch.float32,
        batch: int = 500,
    ) -> None:
        self._instances = Instances(images, labels, dtype=dtype, batch=batch)
        self._folded = FoldedNetwork(network, directions, dtype=dtype)

    @torch.inference_mode()
    def at(self, alpha: float, beta: float) -> ContourPoint:
        """The point w* + alpha w₁ + beta w₂."""
        device = self._instances.labels.device
        sums = torch.zeros(2, dtype=torch.float64, device=device)
        with exact(device):
            network = self._folded.move(alpha, beta)
            for images, labels in self._instances:
                logits = network(images).double()
                loss = functional.cross_entropy(logits, labels, reduction="sum")
                sums += torch.stack([loss, (logits.argmax(1) == labels).sum()])
        loss, hits = (sums / len(self._instances)).tolist()
        return ContourPoint(loss, hits)
