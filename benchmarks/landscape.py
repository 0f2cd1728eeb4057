"""What a gradient variance and a point of a loss contour cost beside a plain pass of the network.

    uv run python benchmarks/landscape.py

Every method runs on the same images in turns, and ratios are medians over the turns, so that other
work on the machine disturbs all alike. Time is processor time on a CPU and wall time on a GPU.
Memory is what a process of its own needs beyond the network and the images.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.landscape.contour import Contour
from workers.landscape.directions import draw_directions
from workers.landscape.gradient_variance import GradientVariance
from workers.network.network import Network, build_network
from workers.training import device as devices

Method = Callable[[], object]

SIZES = ((16, 8, 40, 5), (36, 20, 20, 3))
"""Channels, cells, images of a batch and turns of the sizes that are measured by default."""

BATCHES = 4
"""That an evaluation runs: the weights of a point are set once for all of them."""


@dataclass(frozen=True)
class Case:
    """A network of the DARTS cell with images of 32×32, on a device.

    Attributes:
        network: In evaluation mode, NCHW.
        images: float32 [N, 3, 32, 32].
        labels: int64 [N].
        batch: Most images run at once.
    """

    network: Network
    images: Tensor
    labels: Tensor
    batch: int

    def repeated(self, times: int) -> Case:
        """The same with its images several times over."""
        images, labels = self.images.repeat(times, 1, 1, 1), self.labels.repeat(times)
        return Case(self.network, images, labels, self.batch)

    @classmethod
    def build(cls, device: torch.device, channels: int, cells: int, images: int) -> Case:
        """Random weights, images and labels."""
        size = NetworkSpec(cells=cells, channels=channels)
        network = build_network(named("DARTS"), size, in_channels=3, classes=10, seed=0)
        draws = torch.Generator().manual_seed(0)
        pixels = torch.randn(images, 3, 32, 32, generator=draws)
        labels = torch.randint(10, (images,), generator=draws)
        return cls(network.eval().to(device), pixels.to(device), labels.to(device), images)

    def evaluations(self, *, half: bool) -> dict[str, Method]:
        """Ways to get the mean loss: plainly, and at a point of a contour; `half` adds bfloat16."""
        methods: dict[str, Method] = {"evaluation, NCHW": self._evaluate}
        directions = draw_directions(self.network, seed=0)
        for dtype in (torch.float32, torch.bfloat16)[: 1 + half]:
            contour = Contour(
                self.network, directions, self.images, self.labels, dtype=dtype, batch=self.batch
            )
            name = f"contour point, {dtype}".replace("torch.", "")
            methods[name] = partial(contour.at, 0.1, 0.1)
        return methods

    def _batches(self) -> list[tuple[Tensor, Tensor]]:
        return list(zip(self.images.split(self.batch), self.labels.split(self.batch), strict=True))

    def plain(self, layout: torch.memory_format) -> None:
        """Forward and backward, batch by batch."""
        self.network.to(memory_format=layout)
        for images, labels in self._batches():
            self.network.zero_grad()
            logits = self.network(images.contiguous(memory_format=layout))
            functional.cross_entropy(logits, labels).backward()
        self.network.to(memory_format=torch.contiguous_format)

    def variance(self) -> Method:
        """A point of a surface of gradient variance."""
        directions = draw_directions(self.network, seed=0)
        measured = GradientVariance(
            self.network, directions, self.images, self.labels, batch=self.batch
        )
        return partial(measured.at, 0.1, 0.1)

    def vmapped(self) -> Tensor:
        """The variance by vmap, batch by batch."""
        weights = {name: w.detach() for name, w in self.network.named_parameters()}

        def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
            logits = functional_call(self.network, weights, (image[None],))
            return functional.cross_entropy(logits, label[None])

        gradients = vmap(grad(loss), in_dims=(None, 0, 0))
        found = []
        for images, labels in self._batches():
            each = gradients(weights, images, labels)
            found.append(sum(g.var(0, correction=0).sum() for g in each.values()))
        return torch.stack(found).mean()

    def loop(self) -> Tensor:
        """The variance, one instance after the other."""
        weights = list(self.network.parameters())
        sums = [torch.zeros_like(weight) for weight in weights]
        squares = torch.zeros((), device=self.labels.device)
        for image, label in zip(self.images.split(1), self.labels.split(1), strict=True):
            loss = functional.cross_entropy(self.network(image), label)
            gradients = torch.autograd.grad(loss, weights)
            for total, gradient in zip(sums, gradients, strict=True):
                total += gradient
                squares += gradient.square().sum()
        count = len(self.labels)
        return squares / count - sum((total / count).square().sum() for total in sums)

    @torch.no_grad()
    def _evaluate(self) -> float:
        total = 0.0
        for images, labels in self._batches():
            logits = self.network(images)
            total += float(functional.cross_entropy(logits, labels, reduction="sum"))
        return total / len(self.labels)


PASSES: dict[str, Callable[[Case], Method]] = {
    "forward + backward, NCHW": lambda case: partial(case.plain, torch.contiguous_format),
    "forward + backward, channels last": lambda case: partial(case.plain, torch.channels_last),
    "gradient variance": Case.variance,
    "vmap(grad)": lambda case: case.vmapped,
    "loop over instances": lambda case: case.loop,
}
"""Ways to differentiate: plainly, and instance by instance."""


def seconds(method: Method, device: torch.device) -> float:
    """Of one run: of the processor on a CPU, of the clock on a GPU."""
    clock, wait = time.process_time, lambda: None
    if device.type == "cuda":
        clock, wait = time.perf_counter, partial(torch.cuda.synchronize, device)
    wait()
    start = clock()
    method()
    wait()
    return clock() - start


def in_turns(
    methods: dict[str, Method], turns: int, device: torch.device
) -> dict[str, list[float]]:
    """Seconds of each method in each turn, after one unmeasured."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for turn in range(turns + 1):
        for name, method in methods.items():
            taken = seconds(method, device)
            if turn:
                times[name].append(taken)
    return times


def report(
    times: dict[str, list[float]], images: int, memory: dict[str, int] | None = None
) -> None:
    """Prints a row for each method; the first is what the others are measured against."""
    first, *_ = times.values()
    for name, taken in times.items():
        ratio = statistics.median(ours / base for ours, base in zip(taken, first, strict=True))
        need = f"{memory[name] / 2**20:8.0f} MiB" if memory else ""
        speed = f"{statistics.median(taken) / images * 1e3:9.2f} ms/image {ratio:6.2f}× the time"
        print(f"  {name:<34}{speed} ({1 / ratio:5.2f}× as fast){need}")


def peak_memories(size: tuple[int, ...], device: torch.device, threads: int) -> dict[str, int]:
    """Bytes that each way to differentiate needs, in a process of its own."""
    channels, cells, images, _ = size
    command = [sys.executable, __file__, f"--device={device}", f"--threads={threads}"]
    command += [f"--channels={channels}", f"--cells={cells}", f"--images={images}"]
    ask = partial(subprocess.check_output, text=True)
    return {name: int(ask([*command, "--memory", name])) for name in PASSES}


def memory_of(method: Method, device: torch.device) -> int:
    """Bytes that a run adds to the most that this process has used."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        method()
        return torch.cuda.max_memory_allocated(device) - before
    before = devices.peak_memory(device)
    method()
    return devices.peak_memory(device) - before


def main() -> None:
    """Prints two tables for each size."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", help="cuda, cuda:N or cpu; a GPU where there is one")
    parser.add_argument("--threads", type=int, default=1, help="of the CPU")
    parser.add_argument("--channels", type=int, help="of the first cell's nodes")
    parser.add_argument("--cells", type=int)
    parser.add_argument("--images", type=int, help="of a batch")
    parser.add_argument("--turns", type=int)
    parser.add_argument("--bfloat16", action="store_true", help="slow on a CPU without its like")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    device = devices.choose(options.device)
    torch.set_num_threads(options.threads)
    given = (options.channels, options.cells, options.images, options.turns)
    chosen = SIZES if given[:2] == (None, None) else SIZES[-1:]
    sizes = [tuple(map(lambda own, size: own or size, given, known)) for known in chosen]
    if options.memory:
        [(channels, cells, images, _)] = sizes
        case = Case.build(device, channels, cells, images)
        print(memory_of(lambda: PASSES[options.memory](case)(), device))
        return
    where = f"{devices.name(device)} ({device.type}), {torch.get_num_threads()} thread(s)"
    print(f"torch {torch.__version__} on {where}")
    # First, for a process begins with the peak of the one that started it.
    memory = {size: peak_memories(size, device, options.threads) for size in sizes}
    for size in sizes:
        channels, cells, images, turns = size
        case = Case.build(device, channels, cells, images)
        print(f"\nDARTS, C = {channels}, {cells} cells, batches of {images} images")
        passes = {name: build(case) for name, build in PASSES.items()}
        report(in_turns(passes, turns, device), images, memory[size])
        evaluations = case.repeated(BATCHES).evaluations(half=options.bfloat16)
        report(in_turns(evaluations, turns, device), images * BATCHES)


if __name__ == "__main__":
    main()
