"""Networks small enough to differentiate one image at a time, with statistics far from 0 and 1."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import ADAPTED, BASES, named
from workers.cells.operations import OPERATIONS
from workers.landscape.plane import Directions
from workers.network.network import Network, build_network

CLASSES = 5


def _rows(operations: tuple[str, ...]) -> Cell:
    """A cell of two edges a node, the first from the node before."""
    nodes = [
        (Edge(operations[i], i // 2 + 1), Edge(operations[i + 1], i % 4 // 2))
        for i in range(0, len(operations) - 1, 2)
    ]
    return Cell(tuple(nodes), tuple(range(2, len(nodes) + 2)))


_LONG = _rows(("sep_conv_7x7", "conv_7x1_1x7", "conv_7x1_1x7", "sep_conv_7x7"))
_ALL = _rows((*[*OPERATIONS][:-1], "skip_connect"))  # noise is the last
_NOISE = Cell(
    (
        (Edge("noise", 0), Edge("noise", 1)),
        (Edge("sep_conv_3x3", 2), Edge("conv_1x1", 1)),
    ),
    (3,),
)

_DEAD = Cell(
    ((Edge("sep_conv_3x3", 0), Edge("sep_conv_3x3", 1)), (Edge("conv_1x1", 1),)),
    (3,),
)

GENOTYPES: dict[str, Genotype] = {
    **{name: named(name) for name in (*BASES, *ADAPTED)},
    "seven": Genotype(_LONG, _LONG),
    "all": Genotype(_ALL, _ALL),
}
"""Every base, its adapted form, a cell with 7×7 and 7×1–1×7 operations, and one with all."""

DEAD = Genotype(_DEAD, _DEAD)
"""A cell of which one node and one input lead nowhere, so that every other cell is dead too."""

NOISY = Genotype(_NOISE, _NOISE)
"""A cell in which a separable convolution reads nothing but noise."""


def network(
    genotype: Genotype, *, cells: int = 3, channels: int = 2, auxiliary: bool = False
) -> Network:
    """In float64 and evaluation mode; every tensor of its normalisations is drawn."""
    built = build_network(
        genotype,
        NetworkSpec(cells, channels),
        in_channels=3,
        classes=CLASSES,
        seed=0,
        auxiliary=auxiliary,
    ).double()
    draws = torch.Generator().manual_seed(1)
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3, generator=draws)
            module.running_var.uniform_(0.5, 2, generator=draws)
            nn.init.uniform_(module.weight, 0.5, 1.5, generator=draws)
            nn.init.normal_(module.bias, 0, 0.2, generator=draws)
    return built.eval()


def instances(count: int, size: int) -> tuple[Tensor, Tensor]:
    """Images float64 [count, 3, size, size] and labels."""
    draws = torch.Generator().manual_seed(2)
    images = torch.randn(count, 3, size, size, generator=draws, dtype=torch.float64)
    return images, torch.randint(CLASSES, (count,), generator=draws)


def moved(trained: Network, directions: Directions, alpha: float, beta: float) -> Network:
    """A copy with its weights at a point, parameter by parameter."""
    copied = copy.deepcopy(trained)
    with torch.no_grad():
        for name, weight in copied.named_parameters():
            if name in directions.first:
                weight += alpha * directions.first[name] + beta * directions.second[name]
    return copied


def instance_gradients(
    at: nn.Module, images: Tensor, labels: Tensor, auxiliary: float = 0.0
) -> dict[str, Tensor]:
    """The gradient of each image's loss, one after the other, [N, …] by parameter."""
    weights = dict(at.named_parameters())
    rows: list[tuple[Tensor, ...]] = []
    for image, label in zip(images.split(1), labels.split(1), strict=True):
        if auxiliary:
            assert isinstance(at, Network)
            logits, others = at.forward_with_auxiliary(image)
            loss = F.cross_entropy(logits, label) + auxiliary * F.cross_entropy(others, label)
        else:
            loss = F.cross_entropy(at(image), label)
        rows.append(torch.autograd.grad(loss, list(weights.values()), materialize_grads=True))
    return {name: torch.stack(column) for name, *column in zip(weights, *rows, strict=True)}


def distances(gradients: dict[str, Tensor], *, vectors: bool = True) -> Tensor:
    """‖g_i − ḡ‖² of each instance, with or without parameters of one dimension."""
    centred = [g - g.mean(0) for g in gradients.values() if vectors or g.dim() > 2]
    return torch.stack([g.flatten(1).square().sum(1) for g in centred]).sum(0)
