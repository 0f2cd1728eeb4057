"""What an edge of a cell does to a feature map (Section A.3; details from the published code).

Each operation maps [N, C, H, W] to [N, C, ⌈H/stride⌉, ⌈W/stride⌉]. Batch normalisation is affine
and convolutions have no bias. `skip_connect` at stride 2 needs even C, H and W.

Published operations with weights begin with a ReLU. Several of them read one map, so here the ReLU
is applied to the map once, by the cell: `reads_rectified` says which operations take it so. A ReLU
within an operation works in place, as nothing else reads what normalisation has just made.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from results_schema.errors import SpecError
from workers.network.average_pool import AvgPool


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that does not count its batches.

    Only a cumulative average would read the count, and adding to it costs a kernel a layer.
    """

    def forward(self, input: Tensor) -> Tensor:
        return F.batch_norm(
            input,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            self.training,
            self.momentum or 0.0,
            self.eps,
        )


class Rectified(nn.Sequential):
    """Steps on a rectified map.

    The first place is empty: the published code has a ReLU there, and names parameters by place.
    """

    def __init__(self, *steps: nn.Module) -> None:
        super().__init__(nn.Identity(), *steps)


class FactorizedReduce(nn.Module):
    """Halves a rectified map by two strided 1×1 convolutions, the second shifted by one pixel."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        half = channels_out // 2
        self.every_second = _every(2)
        self.conv_1 = nn.Conv2d(channels_in, half, 1, bias=False)
        self.conv_2 = nn.Conv2d(channels_in, half, 1, bias=False)
        self.bn = BatchNorm(channels_out)

    def forward(self, x: Tensor) -> Tensor:
        # Negative padding cuts as x[:, :, 1:, 1:] does, but its gradient stays channels last.
        shifted = F.pad(x, (-1, 0, -1, 0))
        halves = self.conv_1(self.every_second(x)), self.conv_2(self.every_second(shifted))
        return self.bn(torch.cat(halves, dim=1))


class Noise(nn.Module):
    """Standard normal noise in place of the input, which gets no gradient.

    Attributes:
        generator: What it is drawn from; None is the process's own.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        noise = torch.empty_like(x[:, :, :: self.stride, :: self.stride].detach())
        return noise.normal_(generator=self.generator)


def _every(stride: int) -> nn.Module:
    """Takes every stride-th pixel of every stride-th row, for a 1×1 convolution to follow.

    A strided 1×1 convolution would do both, but its gradient writes past the end of oneDNN's
    memory where a channels_last map has few channels (uxlfoundation/oneDNN#6035). A pool over one
    pixel keeps the gradient channels last, as indexing does not.
    """
    return nn.AvgPool2d(1, stride) if stride > 1 else nn.Identity()


def conv_bn(channels_in: int, channels_out: int) -> Rectified:
    """1×1 convolution and batch normalisation of a rectified map."""
    return Rectified(
        nn.Conv2d(channels_in, channels_out, 1, bias=False),
        BatchNorm(channels_out),
    )


def _separable(channels: int, kernel: int, stride: int, dilation: int = 1) -> list[nn.Module]:
    padding = dilation * (kernel // 2)
    return [
        nn.Conv2d(
            channels, channels, kernel, stride, padding, dilation, groups=channels, bias=False
        ),
        nn.Conv2d(channels, channels, 1, bias=False),
        BatchNorm(channels),
    ]


def _sep_conv(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: Rectified(
        *_separable(channels, kernel, stride),
        nn.ReLU(inplace=True),
        *_separable(channels, kernel, 1),
    )


def _dil_conv(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: Rectified(*_separable(channels, kernel, stride, dilation=2))


def _skip_connect(channels: int, stride: int) -> nn.Module:
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


def _conv(kernel: int) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: Rectified(
        nn.Conv2d(channels, channels, kernel, stride, kernel // 2, bias=False),
        BatchNorm(channels),
    )


def _conv_1x1(channels: int, stride: int) -> nn.Module:
    operation = Rectified(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels))
    operation[0] = _every(stride)
    return operation


def _factorized_conv(length: int, *, norm_between: bool) -> Callable[[int, int], nn.Module]:
    def build(channels: int, stride: int) -> nn.Module:
        half = length // 2
        row = nn.Conv2d(channels, channels, (1, length), (1, stride), (0, half), bias=False)
        column = nn.Conv2d(channels, channels, (length, 1), (stride, 1), (half, 0), bias=False)
        between = [BatchNorm(channels), nn.ReLU(inplace=True)] if norm_between else []
        return Rectified(row, *between, column, BatchNorm(channels))

    return build


def _pool_2x2(pool: type[nn.MaxPool2d | nn.AvgPool2d]) -> Callable[[int, int], nn.Module]:
    return lambda channels, stride: nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), pool(2, stride))


_BUILDERS: dict[str, Callable[[int, int], nn.Module]] = {
    "max_pool_3x3": lambda channels, stride: nn.MaxPool2d(3, stride, padding=1),
    "avg_pool_3x3": lambda channels, stride: AvgPool(3, stride),
    "skip_connect": _skip_connect,
    "sep_conv_3x3": _sep_conv(3),
    "sep_conv_5x5": _sep_conv(5),
    "sep_conv_7x7": _sep_conv(7),
    "dil_conv_3x3": _dil_conv(3),
    "dil_conv_5x5": _dil_conv(5),
    "conv_7x1_1x7": _factorized_conv(7, norm_between=False),
    "conv_1x1": _conv_1x1,
    "conv_3x3": _conv(3),
    "conv_3x1_1x3": _factorized_conv(3, norm_between=False),
    "conv_1x3_3x1": _factorized_conv(3, norm_between=True),
    "conv_1x7_7x1": _factorized_conv(7, norm_between=True),
    "avg_pool_2x2": _pool_2x2(nn.AvgPool2d),
    "avg_pool_5x5": lambda channels, stride: AvgPool(5, stride),
    "max_pool_2x2": _pool_2x2(nn.MaxPool2d),
    "noise": lambda channels, stride: Noise(stride),
}
"""The paper's nine; then `conv_3x1_1x3` as in D-X-Y/AutoDL-Projects and the others as in
renqianluo/NAO_pytorch (NAO_V1), whose 2×2 pools add a row and a column of zeros at the end; `noise`
as in automl/RobustDARTS."""


def reads_rectified(operation: nn.Module) -> bool:
    """Return whether an operation is to be given a map after its ReLU."""
    return isinstance(operation, Rectified | FactorizedReduce)


def build_operation(name: str, channels: int, stride: int) -> nn.Module:
    """The operation of that name, one of `results_schema.genotype.OPERATIONS`.

    Args:
        name: What the edge carries.
        channels: C, of its input and its output.
        stride: 1, or 2 on an edge from an input of a reduction cell.

    Raises:
        SpecError: No operation has this name.
    """
    if name not in _BUILDERS:
        raise SpecError(f"unknown operation {name!r}", fix=f"use one of {', '.join(_BUILDERS)}")
    return _BUILDERS[name](channels, stride)
