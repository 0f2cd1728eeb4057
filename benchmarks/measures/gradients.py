"""Each operation's gradients on the device against float64 on the CPU.

Kernels differ by shape, stride and layout, and a wrong one gives no error: it gives other numbers.
So every operation is tried at the shapes that the paper's network has, both strides, both layouts,
with inputs that nothing has seen before.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from benchmarks.loops.setting import half
from results_schema.genotype import OPERATIONS
from workers.network.operations import build_operation

SHAPES = ((36, 32), (72, 16), (144, 8))
"""Channels, height and width of the maps of the three stages of the paper's CIFAR network."""

LAYOUTS = {
    "contiguous": torch.contiguous_format,
    "channels_last": torch.channels_last,
}
"""Of maps and weights."""

BARS = {"fp32": 0.03, "bf16": 0.25}
"""Largest distance from float64, as a share of the gradient's own length, by precision.

Of a wrong kernel it is near 1. The bars are wide because a rounded number now and then takes
another way at a ReLU between two convolutions: in fp32 one such moves a gradient by some
thousandths of its length, and all else by some millionths.
"""


@dataclass(frozen=True)
class Difference:
    """How far an operation's gradients lie from those in float64.

    Attributes:
        operation: Its name.
        stride: 1 or 2.
        layout: A key of `LAYOUTS`.
        precision: A key of `BARS`.
        channels: Of the map, like the next.
        size: Height and width of the map.
        distance: ‖g − g₆₄‖ / ‖g₆₄‖, the largest over the input and all weights; NaN and infinity
            where a gradient is not finite.
    """

    operation: str
    stride: int
    layout: str
    precision: str
    channels: int
    size: int
    distance: float

    @property
    def sound(self) -> bool:
        """Whether it is within the bar of its precision."""
        return self.distance <= BARS[self.precision]


def check_operations(
    device: torch.device,
    *,
    images: int = 8,
    shapes: tuple[tuple[int, int], ...] = SHAPES,
    precisions: tuple[str, ...] = tuple(BARS),
) -> Iterator[Difference]:
    """Every operation that has a gradient, at every shape, stride, layout and precision."""
    for name in OPERATIONS:
        if name == "noise":
            continue
        for channels, size in shapes:
            for stride in (1, 2):
                if (name, stride) != ("skip_connect", 1):
                    yield from _check(name, stride, channels, size, images, device, precisions)


def check_native_average_pool(
    device: torch.device, *, images: int = 8, shapes: tuple[tuple[int, int], ...] = SHAPES
) -> Iterator[Difference]:
    """`torch.nn.functional.avg_pool2d` itself, padded and channels last.

    Its gradient is wrong on CUDA in torch before mid-2026 (pytorch/pytorch#188344), which
    `workers.network.average_pool.AvgPool` works around.
    """
    for channels, size in shapes:
        for stride in (1, 2):
            pool = nn.AvgPool2d(3, stride, padding=1, count_include_pad=False)
            distance = _Case(pool, channels, size, images, "fp32").distance(device, "channels_last")
            yield Difference(
                "avg_pool2d", stride, "channels_last", "fp32", channels, size, distance
            )


def _check(
    name: str,
    stride: int,
    channels: int,
    size: int,
    images: int,
    device: torch.device,
    precisions: tuple[str, ...],
) -> Iterator[Difference]:
    operation = build_operation(name, channels, stride)
    for precision in precisions:
        case = _Case(operation, channels, size, images, precision)
        for layout in LAYOUTS:
            distance = case.distance(device, layout)
            yield Difference(name, stride, layout, precision, channels, size, distance)


class _Case:
    """An operation with its gradients in float64, for a fresh input and a fresh weighting."""

    def __init__(
        self, operation: nn.Module, channels: int, size: int, images: int, precision: str
    ) -> None:
        self.operation, self.precision = operation, precision
        # Maps are bfloat16 in a network that computes so, and what differs is the arithmetic alone.
        self.dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self.x = torch.randn(images, channels, size, size).to(self.dtype)
        exact = copy.deepcopy(operation).double()
        with torch.no_grad():
            shape = exact(self.x.double()).shape
        self.weighting = torch.randn(shape).to(self.dtype)
        self.exact = _gradients(exact, self.x.double(), self.weighting.double())

    def distance(self, device: torch.device, layout: str) -> float:
        """Runs the operation on the device, see `Difference.distance`."""
        memory = LAYOUTS[layout]
        operation = copy.deepcopy(self.operation).to(device).to(memory_format=memory)
        x, weighting = (
            tensor.to(device).contiguous(memory_format=memory)
            for tensor in (self.x, self.weighting)
        )
        with half(device, self.precision):
            found = _gradients(operation, x, weighting)
        each = [
            (ours.double().cpu() - exact).norm() / exact.norm()
            for ours, exact in zip(found, self.exact, strict=True)
        ]
        return float(torch.stack(each).max())


def _gradients(operation: nn.Module, x: Tensor, weighting: Tensor) -> list[Tensor]:
    leaf = x.detach().requires_grad_()
    (operation(leaf) * weighting).sum().backward()
    gradients = [leaf.grad, *(weight.grad for weight in operation.parameters())]
    return [gradient for gradient in gradients if gradient is not None]
