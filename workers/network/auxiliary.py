"""The auxiliary head: a second classifier halfway up, which Table 1 trains along with the first."""

from __future__ import annotations

from torch import Tensor, nn

from results_schema.errors import SpecError
from workers.cells.cost import AUXILIARY_MAP
from workers.network.operations import BatchNorm


class AuxiliaryHead(nn.Module):
    """Maps [N, channels, 8, 8] to logits [N, classes] (details from the published code)."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.ReLU(),
            nn.AvgPool2d(5, stride=3),
            nn.Conv2d(channels, 128, 1, bias=False),
            BatchNorm(128),
            nn.ReLU(inplace=True),
            nn.Conv2d(128, 768, 2, bias=False),
            BatchNorm(768),
            nn.ReLU(inplace=True),
        )
        self.classifier = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (AUXILIARY_MAP, AUXILIARY_MAP):
            raise SpecError(
                f"the auxiliary head takes maps of {AUXILIARY_MAP}×{AUXILIARY_MAP}, "
                f"not {x.shape[2]}×{x.shape[3]}",
                fix="use images of 32×32, or 64×64 with a stem of stride 2, or no auxiliary head",
            )
        return self.classifier(self.features(x).flatten(1))
