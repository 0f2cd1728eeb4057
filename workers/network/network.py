"""The network that the paper trains: a stem, a stack of cells and a linear head (Section A.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.draws import derive
from workers.network.cell import Cell
from workers.network.operations import BatchNorm

STEM = 3
"""The stem has this many times the channels of the first cell's nodes."""


class Network(nn.Module):
    """Cells L/3 and 2L/3 are reduction cells: they halve the map and double the channels.

    Args:
        genotype: The two cells.
        channels: C, of a node before the first reduction.
        cells: L, the number of cells.
        classes: Number of logits.
        in_channels: Of an image.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        cells: int,
        classes: int,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        before_last = last = STEM * channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, last, 3, padding=1, bias=False), BatchNorm(last)
        )
        self.cells = nn.ModuleList()
        after_reduction = False
        for index in range(cells):
            reduction = index in (cells // 3, 2 * cells // 3)
            cell = genotype.reduce if reduction else genotype.normal
            channels *= 2 if reduction else 1
            self.cells.append(
                Cell(
                    cell,
                    channels,
                    before_last=before_last,
                    last=last,
                    reduction=reduction,
                    after_reduction=after_reduction,
                )
            )
            before_last, last = last, channels * len(cell.concat)
            after_reduction = reduction
        self.classifier = nn.Linear(last, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Images [N, in_channels, H, W] to logits [N, classes]; 4 divides H and W.

        Raises:
            SpecError: The images cannot be halved twice.
        """
        height, width = x.shape[2:]
        if height % 4 or width % 4:
            raise SpecError(
                f"images of {height}×{width} pixels cannot be halved twice",
                fix="use images whose height and width are multiples of 4",
            )
        before_last = last = self.stem(x)
        for cell in self.cells:
            before_last, last = last, cell(before_last, last)
        return self.classifier(last.mean((2, 3)))


def build_network(
    genotype: Genotype, size: NetworkSpec, *, in_channels: int, classes: int, seed: int
) -> Network:
    """A network on the CPU, initialised as PyTorch does by default.

    The same seed gives the same weights wherever the network is moved to afterwards, and the
    process's own random state is left alone.

    Args:
        genotype: The two cells.
        size: Of the network.
        in_channels: Of an image.
        classes: Number of logits.
        seed: The trial's.
    """
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would also reseed every GPU, which the fork does not restore.
        torch.default_generator.manual_seed(derive(seed, "init"))
        return Network(
            genotype,
            channels=size.channels,
            cells=size.cells,
            classes=classes,
            in_channels=in_channels,
        )
