"""The network beside two others: the published one, and one that rectifies for each operation."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_landscapes import DEAD, GENOTYPES, NOISY
from torch import Tensor, nn

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named
from workers.network.network import CellModule, DropPath, Network, build_network
from workers.network.operations import reads_rectified

SIZE = NetworkSpec(cells=6, channels=4)


class Published:
    """The published model's forward pass in eval mode, written out over a dict of weights."""

    def __init__(
        self, genotype: Genotype, cells: int, channels: int, classes: int, in_channels: int
    ):
        self.genotype, self.cells = genotype, cells
        self.weights: dict[str, Tensor] = {}
        self.draw = torch.Generator().manual_seed(5)
        self.in_channels, self.channels, self.classes = in_channels, channels, classes

    def tensor(self, name: str, *shape: int) -> Tensor:
        if name not in self.weights:
            self.weights[name] = torch.randn(*shape, generator=self.draw, dtype=torch.float64) / 3
        return self.weights[name]

    def conv(
        self,
        x: Tensor,
        name: str,
        out: int,
        kernel: tuple[int, int] = (1, 1),
        groups: int = 1,
        **options: Any,
    ):
        weight = self.tensor(f"{name}.weight", out, x.shape[1] // groups, *kernel)
        return F.conv2d(x, weight, groups=groups, **options)

    def norm(self, x: Tensor, name: str):
        channels = x.shape[1]
        mean, weight, bias = (
            self.tensor(f"{name}.{part}", channels) for part in ("running_mean", "weight", "bias")
        )
        if f"{name}.running_var" not in self.weights:
            self.weights[f"{name}.running_var"] = (
                torch.rand(channels, generator=self.draw, dtype=torch.float64) + 0.5
            )
        variance = self.weights[f"{name}.running_var"]
        return F.batch_norm(x, mean, variance, weight, bias)

    def preprocess(self, x: Tensor, name: str, out: int, halve: bool):
        if halve:
            return self.reduce(x, name, out)
        return self.norm(self.conv(F.relu(x), f"{name}.op.1", out), f"{name}.op.2")

    def reduce(self, x: Tensor, name: str, out: int):
        x = F.relu(x)
        even = self.conv(x, f"{name}.conv_1", out // 2, stride=2)
        odd = self.conv(x[:, :, 1:, 1:], f"{name}.conv_2", out // 2, stride=2)
        return self.norm(torch.cat([even, odd], 1), f"{name}.bn")

    def operation(self, x: Tensor, op: str, name: str, stride: int):
        c = x.shape[1]
        if op == "max_pool_3x3":
            return F.max_pool2d(x, 3, stride, 1)
        if op == "avg_pool_3x3":
            return F.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
        if op == "skip_connect":
            return x if stride == 1 else self.reduce(x, name, c)
        if op == "conv_7x1_1x7":
            x = self.conv(F.relu(x), f"{name}.1", c, (1, 7), stride=(1, stride), padding=(0, 3))
            x = self.conv(x, f"{name}.2", c, (7, 1), stride=(stride, 1), padding=(3, 0))
            return self.norm(x, f"{name}.3")
        kind, size = op.split("_conv_")
        k = int(size[0])
        dilation = 2 if kind == "dil" else 1
        for start in (1,) if kind == "dil" else (1, 5):
            x = self.conv(
                F.relu(x),
                f"{name}.op.{start}",
                c,
                (k, k),
                groups=c,
                stride=stride if start == 1 else 1,
                padding=dilation * (k // 2),
                dilation=dilation,
            )
            x = self.conv(x, f"{name}.op.{start + 1}", c)
            x = self.norm(x, f"{name}.op.{start + 2}")
        return x

    def __call__(self, x: Tensor):
        x = self.conv(x, "stem.0", 3 * self.channels, (3, 3), padding=1)
        s0 = s1 = self.norm(x, "stem.1")
        c, previous_reduced = self.channels, False
        for i in range(self.cells):
            reduction = i in (self.cells // 3, 2 * self.cells // 3)
            cell = self.genotype.reduce if reduction else self.genotype.normal
            c = 2 * c if reduction else c
            states = [
                self.preprocess(s0, f"cells.{i}.preprocess0", c, previous_reduced),
                self.preprocess(s1, f"cells.{i}.preprocess1", c, False),
            ]
            k = 0
            for edges in cell.nodes:
                total = torch.zeros((), dtype=torch.float64)
                for edge in edges:
                    stride = 2 if reduction and edge.source < 2 else 1
                    name = f"cells.{i}._ops.{k}"
                    total = total + self.operation(states[edge.source], edge.op, name, stride)
                    k += 1
                states.append(total)
            s0, s1 = s1, torch.cat([states[j] for j in cell.concat], 1)
            previous_reduced = reduction
        features = F.adaptive_avg_pool2d(s1, 1).flatten(1)
        weight = self.tensor("classifier.weight", self.classes, features.shape[1])
        return F.linear(features, weight, self.tensor("classifier.bias", self.classes))


def load(network: Network, published: Published) -> None:
    """Loads the published weights; there operations are `_ops`, in sequences called `op`."""
    network.load_state_dict(
        {
            name.replace("._ops.", ".operations.").replace(".op.", "."): value
            for name, value in published.weights.items()
        }
    )


def published_and_ours(name: str):
    genotype = named(name)
    published = Published(genotype, SIZE.cells, SIZE.channels, 7, 3)
    ours = build_network(genotype, SIZE, in_channels=3, classes=7, seed=0).double().eval()
    return published, ours


@pytest.mark.parametrize(
    "name", ["NASNet", "AmoebaNet", "ENAS_ADAPT", "DARTS", "SNAS", "DARTS_CONN3"]
)
def test_published_weights_give_the_published_logits(name: str):
    published, ours = published_and_ours(name)
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    logits = published(x)
    load(ours, published)
    torch.testing.assert_close(ours(x), logits, rtol=1e-9, atol=1e-9)


def test_the_auxiliary_head_has_the_published_names():
    ours = build_network(
        named("DARTS"), SIZE, in_channels=3, classes=7, seed=0, auxiliary=True
    ).double()
    published = Published(named("DARTS"), SIZE.cells, SIZE.channels, 7, 3)
    published(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    channels = 4 * 4 * SIZE.channels
    shapes = {
        "features.2.weight": (128, channels, 1, 1),
        "features.5.weight": (768, 128, 2, 2),
        "classifier.weight": (7, 768),
        "classifier.bias": (7,),
    }
    for norm, size in ((3, 128), (6, 768)):
        for part in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"features.{norm}.{part}"] = (size,)
    for name, shape in shapes.items():
        published.tensor(f"auxiliary_head.{name}", *shape)
    load(ours, published)
    loaded = ours.state_dict()
    head = [name for name in published.weights if name.startswith("auxiliary_head.")]
    assert len(head) == len(shapes)
    assert all(torch.equal(loaded[name], published.weights[name]) for name in head)


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
        assert isinstance(cell, CellModule)
        before_last, last = last, _cell(cell, before_last, last, masks) if live else last
    return network.classifier(last.mean((2, 3)))


def _cell(
    cell: CellModule, before_last: Tensor, last: Tensor, masks: Iterator[Tensor] | None
) -> Tensor:
    nodes: dict[int, Tensor] = {}
    if 0 in cell.live:
        nodes[0] = cell.preprocess0(F.relu(before_last))
    if 1 in cell.live:
        nodes[1] = cell.preprocess1(F.relu(last))
    for operation, edge in zip(cell.operations, cell.edges, strict=True):
        if (node := edge.node) in cell.live:
            source = nodes[edge.source]
            read = F.relu(source) if reads_rectified(operation) else source
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
def test_logits_are_the_same_bits_and_gradients_the_same_but_for_rounding(name, dtype):
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
        assert isinstance(cell, CellModule)
        edges = zip(cell.operations, cell.edges, strict=True)
        readers += len({edge.source for operation, edge in edges if reads_rectified(operation)})
    assert len(rectified) == readers < 4 * 8
