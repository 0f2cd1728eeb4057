"""A map that several operations read rectified is rectified once, and the numbers are the same."""

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from small_landscapes import DEAD, GENOTYPES, NOISY
from torch import Tensor, nn

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named
from workers.network.cell import Cell
from workers.network.drop_path import DropPath
from workers.network.network import Network, build_network
from workers.network.operations import reads_rectified

EVERY = {name: named(name) for name in BASES} | {
    "all": GENOTYPES["all"],
    "dead": DEAD,
    "noise": NOISY,
}


def one_by_one(network: Network, x: Tensor, drop_path: DropPath | None = None) -> Tensor:
    """The logits as published: each operation rectifies its own input."""
    before_last = last = network.stem(x)
    masks = iter(drop_path.masks(network.droppable, len(x), last.dtype)) if drop_path else None
    for cell, live in zip(network.cells, network.live_cells, strict=True):
        assert isinstance(cell, Cell)
        before_last, last = last, _cell(cell, before_last, last, masks) if live else last
    return network.classifier(last.mean((2, 3)))


def _cell(cell: Cell, before_last: Tensor, last: Tensor, masks: Iterator[Tensor] | None) -> Tensor:
    nodes: dict[int, Tensor] = {}
    if 0 in cell.live:
        nodes[0] = cell.preprocess0(F.relu(before_last))
    if 1 in cell.live:
        nodes[1] = cell.preprocess1(F.relu(last))
    for operation, (source, node) in zip(cell.operations, cell.ends, strict=True):
        if node in cell.live:
            read = F.relu(nodes[source]) if reads_rectified(operation) else nodes[source]
            result = operation(read)
            if masks is not None and not isinstance(operation, nn.Identity):
                result = result * next(masks)
            nodes[node] = nodes[node] + result if node in nodes else result
    return torch.cat([nodes[node] for node in cell.concat], dim=1)


def pair(genotype: Genotype, dtype: torch.dtype) -> tuple[Network, Network]:
    network = build_network(genotype, NetworkSpec(4, 4), in_channels=3, classes=10, seed=0)
    network = network.to(dtype).to(memory_format=torch.channels_last)
    return network, copy.deepcopy(network)


def images(dtype: torch.dtype) -> Tensor:
    draws = torch.Generator().manual_seed(3)
    x = torch.randn(4, 3, 16, 16, generator=draws, dtype=dtype)
    return x.contiguous(memory_format=torch.channels_last)


def seeded(dropping: bool) -> DropPath | None:
    if not dropping:
        return None
    drop_path = DropPath(torch.Generator().manual_seed(1))
    drop_path.probability.fill_(0.3)
    return drop_path


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["float64", "float32"])
@pytest.mark.parametrize("name", EVERY)
def test_logits_are_the_same_bits_and_gradients_the_same_but_for_rounding(
    name: str, dtype: torch.dtype
):
    once, reference = pair(EVERY[name], dtype)
    for dropping in (False, True):
        # Noise comes from the process's generator.
        torch.manual_seed(5)
        logits = once(images(dtype), seeded(dropping))
        torch.manual_seed(5)
        expected = one_by_one(reference, images(dtype), seeded(dropping))
        assert torch.equal(logits, expected)
        for network, each in ((once, logits), (reference, expected)):
            network.zero_grad()
            F.cross_entropy(each, torch.arange(4)).backward()
        bound = 1e-11 if dtype == torch.float64 else 1e-4
        for (key, ours), theirs in zip(
            once.named_parameters(), reference.parameters(), strict=True
        ):
            assert (ours.grad is None) == (theirs.grad is None), key
            if ours.grad is not None and theirs.grad is not None:
                apart = (ours.grad - theirs.grad).norm()
                assert apart <= bound * theirs.grad.norm(), key
    once.eval()
    reference.eval()
    with torch.inference_mode():
        torch.manual_seed(5)
        logits = once(images(dtype))
        torch.manual_seed(5)
        assert torch.equal(logits, one_by_one(reference, images(dtype)))


@pytest.mark.parametrize("training", [True, False])
def test_each_map_is_rectified_once(training: bool, monkeypatch: pytest.MonkeyPatch):
    """In DARTS's cells input 1 is read by several convolutions."""
    network, _ = pair(named("DARTS"), torch.float32)
    network.train(training)
    rectified: list[tuple[int, ...]] = []
    real = Tensor.relu

    def counted(x: Tensor) -> Tensor:
        rectified.append(tuple(x.shape))
        return real(x)

    monkeypatch.setattr(Tensor, "relu", counted)
    network(images(torch.float32))
    readers = 0
    for cell in network.cells:
        assert isinstance(cell, Cell)
        ends = zip(cell.operations, cell.ends, strict=True)
        readers += len({source for operation, (source, _) in ends if reads_rectified(operation)})
    assert len(rectified) == readers < 4 * 8
