"""Weights under the published names give the published model's logits in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.network import build_network
from workers.network.published import load_published

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
    load_published(ours, {f"module.{key}": value for key, value in published.weights.items()})
    torch.testing.assert_close(ours(x), logits, rtol=1e-9, atol=1e-9)


def test_an_auxiliary_head_that_the_network_lacks_is_left_out():
    published, ours = published_and_ours("DARTS")
    published(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    published.weights["auxiliary_head.classifier.bias"] = torch.zeros(7)
    load_published(ours, published.weights)
    assert torch.equal(ours.state_dict()["stem.0.weight"], published.weights["stem.0.weight"])


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
    load_published(ours, published.weights)
    loaded = ours.state_dict()
    head = [name for name in published.weights if name.startswith("auxiliary_head.")]
    assert len(head) == len(shapes)
    assert all(torch.equal(loaded[name], published.weights[name]) for name in head)


def test_weights_of_another_genotype_are_refused():
    published, _ = published_and_ours("DARTS")
    published(torch.randn(1, 3, 16, 16, dtype=torch.float64))
    _, other = published_and_ours("ENAS")
    with pytest.raises(SpecError, match="operations"):
        load_published(other, published.weights)
