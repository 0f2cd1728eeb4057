"""What an edge of a cell does to a feature map (Section A.3; details from the published code).

Each operation maps [N, C, H, W] to [N, C, ⌈H/stride⌉, ⌈W/stride⌉]. Batch normalisation is affine
and convolutions have no bias. `skip_connect` at stride 2 needs even C, H and W. Layers with weights
are those of `workers.cells.operations`.

Published operations with weights begin with a ReLU. Several of them read one map, so here the ReLU
is applied to the map once, by the cell: `reads_rectified` returns which operations take it so. A
ReLU within an operation works in place, as nothing else reads what normalisation has just made.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from results_schema.plugins import BUILT_IN
from workers.cells.operations import OPERATIONS, Conv, find
from workers.network.custom import Custom

_CHECKED_IMAGES = 4
"""Images that a check of average pooling pools."""


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
        shifted = F.pad(x, (-1, 0, -1, 0))  # [N, C, H - 1, W - 1]
        halves = self.conv_1(self.every_second(x)), self.conv_2(self.every_second(shifted))
        return self.bn(torch.cat(halves, dim=1))  # [N, C_out, H / 2, W / 2]


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
        # Strided slicing gives the output's shape, and empty_like keeps channels last.
        noise = torch.empty_like(x[:, :, :: self.stride, :: self.stride].detach())
        return noise.normal_(generator=self.generator)


class AvgPool(nn.Module):
    """Average over the pixels under a square window; padding is left out of the count.

    The gradient of a padded avg_pool2d is wrong on CUDA for channels_last maps in torch before
    mid-2026 (pytorch/pytorch#188344). So on a GPU torch's own padding is used only where a check
    of its gradient passes.
    """

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        # The first call for a shape waits for the device, so it must not be one that is captured.
        if x.is_cuda and not trust(self, tuple(x.shape), x.dtype, str(x.device)):
            return self.pad_and_pool(x)
        return self.native(x)

    def native(self, x: Tensor) -> Tensor:
        """Pool by torch's own padding."""
        padding = self.kernel // 2
        return F.avg_pool2d(x, self.kernel, self.stride, padding, count_include_pad=False)

    def pad_and_pool(self, x: Tensor) -> Tensor:
        """Compute the same average by explicit padding."""
        border = [self.kernel // 2] * 4
        # Both averages divide by the window's area, which cancels: what remains is a sum over the
        # pixels of the image, divided by their number.
        inside = F.pad(x.new_ones(1, 1, *x.shape[2:]), border)
        total = F.avg_pool2d(F.pad(x, border), self.kernel, self.stride)
        return total / F.avg_pool2d(inside, self.kernel, self.stride)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


def trust(pool: AvgPool, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> bool:
    """Return whether torch's own pooling of maps of a shape [N, C, H, W] is right on a device.

    It is checked once a process, with a few of N.
    """
    images = min(shape[0], _CHECKED_IMAGES)
    return _is_trusted(pool.kernel, pool.stride, (images, *shape[1:]), dtype, device)


@cache
@torch.inference_mode(False)  # a surface pools within inference mode, where nothing has a gradient
def _is_trusted(
    kernel: int, stride: int, shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> bool:
    maps = torch.empty(shape, dtype=dtype, device=device)
    return all(
        native_is_right(AvgPool(kernel, stride), maps.contiguous(memory_format=layout))
        for layout in (torch.channels_last, torch.contiguous_format)
    )


def native_is_right(pool: AvgPool, like: Tensor) -> bool:
    """Return whether torch's own padded pooling and its gradient are right on a device.

    They are compared with explicit padding in float64 on the CPU, for normal draws of the shape
    [N, C, H, W], dtype, device and memory format of `like`.
    """
    stream = torch.Generator().manual_seed(0)
    exact = torch.randn(like.shape, generator=stream, dtype=torch.float64)
    maps = exact.to(like.dtype).to(like.device).contiguous(memory_format=_memory_format(like))
    ours = _pooled_with_gradient(pool.native, maps)
    theirs = _pooled_with_gradient(pool.pad_and_pool, maps.cpu().double())
    # Sums of at most 25 terms: some ten roundings.
    tolerance = 10 * torch.finfo(like.dtype).eps
    return all(
        torch.allclose(one.cpu().double(), other, rtol=tolerance, atol=tolerance)
        for one, other in zip(ours, theirs, strict=True)
    )


def _pooled_with_gradient(pool: Callable[[Tensor], Tensor], maps: Tensor) -> tuple[Tensor, Tensor]:
    """Return pooled maps, and the gradient of a sum of them under weights that differ by pixel."""
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        pooled = pool(leaf)
        # 61 is prime, so that no row or column repeats the weights of another.
        weights = (torch.arange(pooled.numel()) % 61 / 32 - 1).view(pooled.shape)
        (gradient,) = torch.autograd.grad(
            pooled, leaf, weights.to(pooled).contiguous(memory_format=_memory_format(maps))
        )
    return pooled.detach(), gradient


def _memory_format(maps: Tensor) -> torch.memory_format:
    last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def _every(stride: int) -> nn.Module:
    # The gradient of a strided 1×1 convolution writes past the end of oneDNN's memory where a
    # channels_last map has few channels (uxlfoundation/oneDNN#6035), and that of indexing is not
    # channels last.
    return nn.AvgPool2d(1, stride) if stride > 1 else nn.Identity()


def conv_bn(channels_in: int, channels_out: int) -> Rectified:
    """Return a 1×1 convolution and batch normalisation of a rectified map."""
    return Rectified(nn.Conv2d(channels_in, channels_out, 1, bias=False), BatchNorm(channels_out))


def reads_rectified(operation: nn.Module) -> bool:
    """Return whether an operation is to be given a map after its ReLU."""
    return isinstance(operation, Rectified | FactorizedReduce)


def build_operation(name: str, channels: int, stride: int) -> nn.Module:
    """Return an operation from C to C channels, built in or a plug-in's.

    Raises:
        SpecError: No operation has this name, or the plug-in's can't be built.
    """
    entry = find(name)
    if entry.origin != BUILT_IN:
        return Custom(entry, channels, stride)
    return entry.resolve()(name, channels, stride)


def conv_layers(name: str, channels: int, stride: int) -> Rectified:
    """Return a built-in operation that consists of the layers in its entry."""
    operation = Rectified()
    for layer in OPERATIONS[name].about["layers"]:
        match layer:
            case "norm":
                operation.append(BatchNorm(channels))
            case "relu":
                operation.append(nn.ReLU(inplace=True))
            case Conv(kernel=(1, 1), strided=(True, True)):
                # In the empty first place, so that the convolution keeps its published name.
                operation[0] = _every(stride)
                operation.append(nn.Conv2d(channels, channels, 1, bias=False))
            case Conv(kernel, strided, dilation, depthwise):
                operation.append(
                    nn.Conv2d(
                        channels,
                        channels,
                        kernel,
                        (stride if strided[0] else 1, stride if strided[1] else 1),
                        (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2)),
                        dilation,
                        groups=channels if depthwise else 1,
                        bias=False,
                    )
                )
    return operation


def skip_connect(name: str, channels: int, stride: int) -> nn.Module:
    """Return the identity, which at stride 2 halves the map."""
    return nn.Identity() if stride == 1 else FactorizedReduce(channels, channels)


def noise(name: str, channels: int, stride: int) -> Noise:
    """Return noise in place of the map."""
    return Noise(stride)


def pool(name: str, channels: int, stride: int) -> nn.Module:
    """Return a pool by its name, such as max_pool_3x3."""
    kernel = int(name[-1])
    if kernel == 2:
        # A row and a column of zeros at the end, as in renqianluo/NAO_pytorch.
        layer = nn.MaxPool2d if name.startswith("max") else nn.AvgPool2d
        return nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), layer(2, stride))
    if name.startswith("max"):
        return nn.MaxPool2d(kernel, stride, padding=kernel // 2)
    return AvgPool(kernel, stride)
