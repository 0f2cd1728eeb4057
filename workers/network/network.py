"""The network that the paper trains: a stem, a stack of cells and a linear head (Section A.3)."""

from __future__ import annotations

import threading

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.stack import STEM, auxiliary_index, stack
from workers.draws import derive
from workers.network.auxiliary import AuxiliaryHead
from workers.network.cell import Cell
from workers.network.drop_path import DropPath
from workers.network.operations import BatchNorm

_BORROWING = threading.Lock()
"""PyTorch initialises from the process's own generator, which one thread at a time borrows."""


class Network(nn.Module):
    """Cells L/3 and 2L/3 are reduction cells: they halve the map and double the channels.

    Args:
        genotype: The two cells.
        channels: C, of a node before the first reduction.
        cells: L, the number of cells.
        classes: Number of logits.
        in_channels: Of an image.
        stem_stride: 2 where the stem halves the image (Tiny-ImageNet).
        auxiliary: Whether the network has an auxiliary head, on the second reduction cell.

    Attributes:
        live_cells: Of each cell, whether a path leads from it to the logits; others never run.
        droppable: Number of edges that drop path may drop: live ones, but no identities.

    Raises:
        SpecError: No network can have that many channels or cells.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        cells: int,
        classes: int,
        in_channels: int = 3,
        stem_stride: int = 1,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        places = stack(genotype, NetworkSpec(cells, channels), auxiliary=auxiliary)
        width = STEM * channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, stem_stride, padding=1, bias=False), BatchNorm(width)
        )
        stacked = [Cell(place) for place in places]
        self.cells = nn.ModuleList(stacked)
        self.live_cells = tuple(place.live for place in places)
        self.droppable = sum(
            cell.droppable for cell, place in zip(stacked, places, strict=True) if place.live
        )
        self.tapped = auxiliary_index(cells)
        self.classifier = nn.Linear(places[-1].output, classes)
        self.auxiliary_head = (
            AuxiliaryHead(places[self.tapped].output, classes) if auxiliary else None
        )

    def forward(self, x: Tensor, drop_path: DropPath | None = None) -> Tensor:
        """Logits of a batch, without the auxiliary head.

        Args:
            x: Images [N, in_channels, H, W]; 4 divides the stem's height and width.
            drop_path: Given in training with drop path.

        Returns:
            Logits [N, classes].

        Raises:
            SpecError: The images cannot be halved twice after the stem.
        """
        return self._run(x, drop_path)[0]

    def forward_with_auxiliary(
        self, x: Tensor, drop_path: DropPath | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits [N, classes] as `forward` gives them, and the auxiliary head's.

        Raises:
            SpecError: As for `forward`; the network has no auxiliary head, or its map is not 8×8.
        """
        if self.auxiliary_head is None:
            raise SpecError("the network has no auxiliary head", fix="build it with auxiliary=True")
        logits, tapped = self._run(x, drop_path)
        return logits, self.auxiliary_head(tapped)

    def _run(self, x: Tensor, drop_path: DropPath | None) -> tuple[Tensor, Tensor]:
        # Every operation that reads the stem's or a cell's output rectifies it; only the classifier
        # reads the last cell's as it is.
        before_last = last = tapped = self.stem(x).relu_()
        if last.shape[2] % 4 or last.shape[3] % 4:
            raise SpecError(
                f"images of {x.shape[2]}×{x.shape[3]} cannot be halved twice after the stem",
                fix="use images whose height and width are multiples of 4, or of 8 with stride 2",
            )
        masks = None
        if drop_path is not None:
            masks = iter(drop_path.masks(self.droppable, len(x), last.dtype))
        final = len(self.cells) - 1
        for index, (cell, live) in enumerate(zip(self.cells, self.live_cells, strict=True)):
            # Nobody reads what stands in for the output of a dead cell.
            before_last, last = last, cell(before_last, last, masks) if live else last
            if live and index < final:
                last = last.relu_()
            if index == self.tapped:
                tapped = last
        return self._classify(last), tapped

    def _classify(self, last: Tensor) -> Tensor:
        """The head, in the precision of its weights: it is small, and few digits tell little."""
        pooled = last.mean((2, 3), dtype=self.classifier.weight.dtype)
        with torch.autocast(last.device.type, enabled=False):
            return self.classifier(pooled)


def build_network(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int,
    classes: int,
    seed: int,
    stem_stride: int = 1,
    auxiliary: bool = False,
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
        stem_stride: As for `Network`.
        auxiliary: As for `Network`.
    """
    with _BORROWING, torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would also reseed every GPU, which the fork does not restore.
        torch.default_generator.manual_seed(derive(seed, "init"))
        return Network(
            genotype,
            channels=size.channels,
            cells=size.cells,
            classes=classes,
            in_channels=in_channels,
            stem_stride=stem_stride,
            auxiliary=auxiliary,
        )
