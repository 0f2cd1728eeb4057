"""What a gradient variance and a point of a loss contour cost beside a plain pass of the network.

    uv run python benchmarks/landscape.py

All methods run on the same images in alternation, and ratios are medians over rounds, so that other
work on the machine disturbs all alike. Time is processor time on a CPU and elapsed time on a GPU.
Memory is what a process of its own needs beyond the network and the images.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Setting
from benchmarks.measure import argument_parser, time_rounds, with_memory
from results_schema.trial import NetworkSpec
from workers.landscape.contour import Contour
from workers.landscape.gradient_variance import GradientVariance
from workers.landscape.instances import Instances
from workers.landscape.plane import draw_directions
from workers.network.network import Network
from workers.training import device as devices

Method = Callable[[], object]

SIZES = ((16, 8, 40, 5), (36, 20, 20, 3))
"""Channels, cells, images of a batch and rounds of both sizes that are measured."""

BATCHES = 4
"""Batches of an evaluation: the weights of a point are set once for all of them."""


@dataclass(frozen=True)
class Case:
    """A network in evaluation mode, images [N, 3, S, S] and labels on its device, and a batch size.

    The methods of a landscape are functions of a case.
    """

    network: Network
    images: Tensor
    labels: Tensor
    batch: int

    @classmethod
    def build(cls, setting: Setting, images: int, batch: int) -> Case:
        """Return random images and labels for the setting's network."""
        size = setting.data(torch.device("cpu")).about.size
        rng = torch.Generator().manual_seed(0)
        pixels = torch.randn(images, 3, size, size, generator=rng)
        labels = torch.randint(10, (images,), generator=rng)
        place = setting.device
        return cls(setting.network().eval(), pixels.to(place), labels.to(place), batch)

    def batches(self) -> list[tuple[Tensor, Tensor]]:
        """Return the images and labels of each batch."""
        return list(zip(self.images.split(self.batch), self.labels.split(self.batch), strict=True))


def pass_both_ways(case: Case, layout: torch.memory_format) -> None:
    """Run forward and backward, batch by batch."""
    case.network.to(memory_format=layout)
    for images, labels in case.batches():
        case.network.zero_grad()
        logits = case.network(images.contiguous(memory_format=layout))
        functional.cross_entropy(logits, labels).backward()
    case.network.to(memory_format=torch.contiguous_format)


def variance_by_vmap(case: Case) -> Tensor:
    """Return the gradient variance by torch's own per-instance gradients."""
    weights = {name: w.detach() for name, w in case.network.named_parameters()}

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(case.network, weights, (image[None],))
        return functional.cross_entropy(logits, label[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    found = []
    for images, labels in case.batches():
        each = gradients(weights, images, labels)
        found.append(sum(g.var(0, correction=0).sum() for g in each.values()))
    return torch.stack(found).mean()


def variance_by_loop(case: Case) -> Tensor:
    """Return the gradient variance, one instance after the other."""
    weights = list(case.network.parameters())
    sums = [torch.zeros_like(weight) for weight in weights]
    squares = torch.zeros((), device=case.labels.device)
    for image, label in zip(case.images.split(1), case.labels.split(1), strict=True):
        loss = functional.cross_entropy(case.network(image), label)
        gradients = torch.autograd.grad(loss, weights)
        for total, gradient in zip(sums, gradients, strict=True):
            total += gradient
            squares += gradient.square().sum()
    count = len(case.labels)
    return squares / count - sum((total / count).square().sum() for total in sums)


@torch.no_grad()
def evaluate(case: Case) -> float:
    """Return the mean loss, batch by batch."""
    total = 0.0
    for images, labels in case.batches():
        logits = case.network(images)
        total += float(functional.cross_entropy(logits, labels, reduction="sum"))
    return total / len(case.labels)


def contour(case: Case, dtype: torch.dtype = torch.float32) -> Contour:
    """Return a contour of the case."""
    directions = draw_directions(case.network, seed=0)
    instances = Instances(case.images, case.labels, dtype=dtype, batch=case.batch)
    return Contour(case.network, directions, instances)


def variance(case: Case) -> Method:
    """Return the method that measures a point of a gradient variance."""
    directions = draw_directions(case.network, seed=0)
    instances = Instances(case.images, case.labels, batch=case.batch)
    measured = GradientVariance(case.network, directions, instances)
    return partial(measured.at, 0.1, 0.1)


PASSES: dict[str, Callable[[Case], Method]] = {
    "forward + backward, NCHW": lambda case: partial(pass_both_ways, case, torch.contiguous_format),
    "forward + backward, channels last": lambda case: partial(
        pass_both_ways, case, torch.channels_last
    ),
    "gradient variance": variance,
    "vmap(grad)": lambda case: partial(variance_by_vmap, case),
    "loop over instances": lambda case: partial(variance_by_loop, case),
}
"""Methods to differentiate: plainly, and instance by instance."""


def evaluations(case: Case, *, bfloat16: bool) -> dict[str, Method]:
    """Return methods to get the mean loss: plainly, and at a point of a contour."""
    methods: dict[str, Method] = {"evaluation, NCHW": partial(evaluate, case)}
    for dtype in (torch.float32, torch.bfloat16)[: 1 + bfloat16]:
        name = f"contour point, {dtype}".replace("torch.", "")
        methods[name] = partial(contour(case, dtype).at, 0.1, 0.1)
    return methods


def report(
    methods: Mapping[str, Method], case: Case, rounds: int, memory: Mapping[str, int] | None = None
) -> None:
    """Time methods and print a row for each, compared with the first."""
    device = case.labels.device
    times = time_rounds(methods, device, rounds, processor=device.type == "cpu")
    first, *_ = times.values()
    for name, seconds in times.items():
        ratio = statistics.median(own / base for own, base in zip(seconds, first, strict=True))
        need = f"{memory[name] / 2**20:8.0f} MiB" if memory else ""
        each = statistics.median(seconds) / len(case.labels)
        speed = f"{each * 1e3:9.2f} ms/image {ratio:6.2f}× the time"
        print(f"  {name:<34}{speed} ({1 / ratio:5.2f}× as fast){need}")


def main() -> None:
    """Print two tables for each size."""
    parser = argument_parser(__doc__, write=False)
    parser.add_argument("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    parser.add_argument("--images", type=int, help="images of a batch (default: 40 and 20)")
    parser.add_argument("--bfloat16", action="store_true", help="also measure contours in bfloat16")
    parser.add_argument("--memory", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = devices.choose(options.device)

    def case(number: int, batches: int = 1) -> Case:
        channels, cells, images, _ = SIZES[number]
        size = NetworkSpec(cells=cells, channels=channels)
        batch = options.images or images
        return Case.build(
            Setting(device, "synthetic_80x3x32_10", size=size), batches * batch, batch
        )

    if options.memory:
        number, name = int(options.memory[0]), options.memory[1]
        one = case(number)
        print(with_memory(lambda: PASSES[name](one)(), device)[1])
        return
    where = f"{devices.name(device)} ({device.type}), {torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__} on {where}")
    for number, (channels, cells, _, rounds) in enumerate(SIZES):
        command = [sys.executable, *sys.argv, "--memory", str(number)]
        memory = {
            name: int(subprocess.check_output([*command, name], text=True)) for name in PASSES
        }
        one = case(number)
        print(f"\nDARTS, C = {channels}, {cells} cells, batches of {one.batch} images")
        report({name: build(one) for name, build in PASSES.items()}, one, rounds, memory)
        several = case(number, BATCHES)
        report(evaluations(several, bfloat16=options.bfloat16), several, rounds)


if __name__ == "__main__":
    main()
