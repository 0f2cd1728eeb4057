"""The network that the paper trains: a stem, a stack of cells and a linear head (Section A.3).

`Network` is the whole; `CellModule` runs one cell of a genotype (Section 3.1), `DropPath` draws the
edges that are dropped in training, and `AuxiliaryHead` is the second classifier of Table 1.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.stack import AUXILIARY_MAP, STEM, Place, auxiliary_index, empty_nodes, stack
from workers.draws import derive
from workers.network.custom import Custom
from workers.network.operations import (
    BatchNorm,
    FactorizedReduce,
    build_operation,
    conv_bn,
    reads_rectified,
)

_DEFAULT_GENERATOR = threading.Lock()
"""PyTorch initialises from the process's own generator, which one thread at a time may reseed."""


class DropPath:
    """Draws which samples pass through which edges (Section A.4).

    `probability` is a tensor on the generator's device, so that a captured CUDA graph reads what
    `probability.fill_(…)` has put there since; register `generator` with the graph.

    Args:
        generator: The source of every draw, on the network's device.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.probability = torch.zeros((), device=generator.device)

    def masks(self, edges: int, batch: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
        """Return one mask [batch, 1, 1, 1] an edge: 0 where dropped, else 1 / (1 − probability)."""
        keep = 1 - self.probability
        # One draw for all edges: a kernel for each would cost more than the numbers.
        shape = (edges, batch, 1, 1, 1)
        draws = torch.rand(shape, generator=self.generator, device=self.generator.device)
        return ((draws < keep) / keep).to(dtype).unbind()


class CellModule(nn.Module):
    """Maps the rectified outputs of the two cells before it to its own.

    Each node is rectified once, however many operations read it so. Dead operations have their
    parameters, as published, but are never run: they change nothing.

    Args:
        place: The graph and its place in the network.

    Attributes:
        edges: The edges, node by node.
        operations: The operation of each edge.
        live: Nodes, inputs among them, from which a path leads to the output.
        empty: Live nodes without edges, which are zero maps.
        droppable: Number of live edges that drop path may drop: all but identities.
    """

    def __init__(self, place: Place) -> None:
        super().__init__()
        cell, self.channels = place.cell, place.channels
        self.concat, self.live, self.empty = cell.concat, cell.live_nodes, empty_nodes(cell)
        self.edges = place.edges
        self.stride = 2 if place.reduction else 1
        preprocess0 = FactorizedReduce if place.after_reduction else conv_bn
        self.preprocess0 = preprocess0(place.before_last, self.channels)
        self.preprocess1 = conv_bn(place.last, self.channels)
        self.operations = nn.ModuleList(
            build_operation(edge.op, self.channels, edge.stride) for edge in self.edges
        )
        self.droppable = sum(edge.live and not edge.is_identity for edge in self.edges)

    def forward(
        self, before_last: Tensor, last: Tensor, masks: Iterator[Tensor] | None = None
    ) -> Tensor:
        """Maps [N, before_last, …] and [N, last, H, W] to [N, C · concatenated nodes, …].

        Both are rectified outputs of cells, that of the cell before the last twice as high and wide
        after a reduction cell; `masks` are `droppable` masks [N, 1, 1, 1] of drop path.
        """
        nodes: dict[int, Tensor] = {}  # [N, C, H / stride, W / stride], the inputs [N, C, H, W]
        rectified: dict[int, Tensor] = {}
        if 0 in self.live:
            nodes[0] = self.preprocess0(before_last)
        if 1 in self.live:
            nodes[1] = self.preprocess1(last)
        for node in self.empty:
            height, width = (side // self.stride for side in last.shape[2:])
            nodes[node] = last.new_zeros(last.shape[0], self.channels, height, width)
        for operation, edge in zip(self.operations, self.edges, strict=True):
            if not edge.live:
                continue
            if reads_rectified(operation):
                # Out of place: pools, identities and the sum read the node as it is.
                if edge.source not in rectified:
                    rectified[edge.source] = nodes[edge.source].relu()
                result = operation(rectified[edge.source])
            else:
                result = operation(nodes[edge.source])
            if masks is not None and not edge.is_identity:
                result = result * next(masks)
            if edge.node not in nodes:
                nodes[edge.node] = result
            elif edge.is_identity or isinstance(operation, Custom):
                # An identity's result is another node, which must keep its value. So may be that of
                # a plug-in's operation, or its backward pass may need it.
                nodes[edge.node] = nodes[edge.node] + result
            else:
                # Nothing else reads what an operation has just made, so no map is allocated.
                nodes[edge.node] = result.add_(nodes[edge.node])
        return torch.cat([nodes[node] for node in self.concat], dim=1)


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


class Network(nn.Module):
    """Cells L/3 and 2L/3 are reduction cells: they halve the map and double the channels.

    Args:
        genotype: The two cells.
        size: Number of cells, channels, and the stride of the stem.
        classes: Number of logits.
        in_channels: Channels of an image.
        auxiliary: Whether the network has an auxiliary head, on the second reduction cell.

    Attributes:
        live_cells: Whether a path leads from each cell to the logits; others never run.
        droppable: Number of edges that drop path may drop: live ones, but no identities.
        tapped: Index of the cell whose output the auxiliary head takes.
    """

    def __init__(
        self,
        genotype: Genotype,
        size: NetworkSpec,
        *,
        classes: int,
        in_channels: int = 3,
        auxiliary: bool = False,
    ) -> None:
        super().__init__()
        places = stack(genotype, size, auxiliary=auxiliary)
        width = STEM * size.channels
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, width, 3, size.stem_stride, padding=1, bias=False),
            BatchNorm(width),
        )
        stacked = [CellModule(place) for place in places]
        self.cells = nn.ModuleList(stacked)
        self.live_cells = tuple(place.live for place in places)
        self.droppable = sum(
            cell.droppable for cell, live in zip(stacked, self.live_cells, strict=True) if live
        )
        self.tapped = auxiliary_index(size.cells)
        self.classifier = nn.Linear(places[-1].output, classes)
        # Built last, so that it leaves the draws of the other initial weights alone.
        self.auxiliary_head = (
            AuxiliaryHead(places[self.tapped].output, classes) if auxiliary else None
        )

    def forward(self, x: Tensor, drop_path: DropPath | None = None) -> Tensor:
        """Return logits [N, classes] of images [N, in_channels, H, W], without the auxiliary head.

        `drop_path` is given in training with drop path.

        Raises:
            SpecError: The images cannot be halved twice after the stem.
        """
        return self._run(x, drop_path)[0]

    def forward_with_auxiliary(
        self, x: Tensor, drop_path: DropPath | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return logits [N, classes] as `forward` does, and the auxiliary head's.

        Raises:
            SpecError: As for `forward`; the network has no auxiliary head, or its map is not 8×8.
        """
        if self.auxiliary_head is None:
            raise SpecError("the network has no auxiliary head", fix="build it with auxiliary=True")
        logits, tapped = self._run(x, drop_path)
        return logits, self.auxiliary_head(tapped)

    def _run(self, x: Tensor, drop_path: DropPath | None) -> tuple[Tensor, Tensor]:
        """Return the logits, and the map [N, channels, H, W] that an auxiliary head takes."""
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
            # No live cell reads a dead cell's output, so any map may take its place.
            before_last, last = last, cell(before_last, last, masks) if live else last
            if live and index < final:
                last = last.relu_()
            if index == self.tapped:
                tapped = last
        # In the precision of the head's weights: logits of few digits would distinguish little.
        pooled = last.mean((2, 3), dtype=self.classifier.weight.dtype)  # [N, channels]
        with torch.autocast(last.device.type, enabled=False):
            return self.classifier(pooled), tapped


def build_network(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int,
    classes: int,
    seed: int,
    auxiliary: bool = False,
) -> Network:
    """Return a network on the CPU, initialised as PyTorch does by default from the trial's seed.

    The same seed gives the same weights on every device the network is moved to afterwards, and
    the process's own random state is left alone. The arguments are those of `Network`.
    """
    with _DEFAULT_GENERATOR, torch.random.fork_rng(devices=[]), torch.device("cpu"):
        # torch.manual_seed would also reseed every GPU, which the fork does not restore.
        torch.default_generator.manual_seed(derive(seed, "init"))
        return Network(
            genotype, size, classes=classes, in_channels=in_channels, auxiliary=auxiliary
        )
