"""The gradient of a layer's weight for each instance of a batch, from one backward pass.

For instance n, with input A_n and gradient B_n of the summed loss with respect to the output, the
weight's gradient is the correlation of A_n with B_n. For a linear layer that is an outer product;
for a dense convolution one product of matrices for each place in its window; for a depthwise one a
convolution of A_n by the kernel B_n, in which stride and dilation have changed places.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


def weight_gradients(layer: nn.Conv2d | nn.Linear, inputs: Tensor, gradients: Tensor) -> Tensor:
    """Each instance's gradient of the layer's weight.

    Args:
        layer: A linear layer or a convolution with zero padding, dense or depthwise.
        inputs: A, [N, in, H, W] or [N, in].
        gradients: B, [N, out, H', W'] or [N, out].

    Returns:
        [N, out, …]: behind `out`, for a convolution, [kernel places · in channels of a group], for
        a linear layer [in].

    Raises:
        TypeError: The convolution has groups of several channels.
    """
    if isinstance(layer, nn.Linear):
        return gradients[:, :, None] * inputs[:, None, :]
    if layer.groups == 1:
        return _dense(layer, inputs, gradients)
    if layer.groups == layer.in_channels == layer.out_channels:
        return _depthwise(layer, inputs, gradients)
    raise TypeError(f"{layer} is neither dense nor depthwise")


def in_order(weight: Tensor) -> Tensor:
    """A convolution's weight [out, in, kernel] as `weight_gradients` has it, [out, …].

    It is a view of a weight that lies channels last in memory.
    """
    return weight.permute(0, 2, 3, 1).flatten(1)


def _dense(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    rows, columns = _padding(layer)
    if rows or columns:
        inputs = functional.pad(inputs, (columns, columns, rows, rows))
    outputs = _by_pixel(gradients).mT  # [N, out, H'·W']
    height, width = gradients.shape[2:]
    places = []
    for i in range(layer.kernel_size[0]):
        for j in range(layer.kernel_size[1]):
            below = _window(i * layer.dilation[0], height, layer.stride[0])
            right = _window(j * layer.dilation[1], width, layer.stride[1])
            places.append(outputs @ _by_pixel(inputs[:, :, below, right]))
    return places[0] if len(places) == 1 else torch.cat(places, dim=2)


def _depthwise(layer: nn.Conv2d, inputs: Tensor, gradients: Tensor) -> Tensor:
    number, channels = inputs.shape[:2]
    found = functional.conv2d(
        inputs.reshape(1, -1, *inputs.shape[2:]),
        gradients.reshape(number * channels, 1, *gradients.shape[2:]),
        stride=layer.dilation,
        padding=layer.padding,
        dilation=layer.stride,
        groups=number * channels,
    )
    # With a stride there can be room for more places than the kernel has.
    rows, columns = layer.kernel_size
    return found[0, :, :rows, :columns].reshape(number, channels, rows * columns)


def _padding(layer: nn.Conv2d) -> tuple[int, int]:
    if isinstance(layer.padding, str):
        raise TypeError(f"{layer} has its padding as a word")
    rows, columns = layer.padding
    return rows, columns


def _window(start: int, length: int, stride: int) -> slice:
    """Where a place of the window falls, for each of `length` outputs."""
    return slice(start, start + (length - 1) * stride + 1, stride)


def _by_pixel(maps: Tensor) -> Tensor:
    """[N, C, H, W] as [N, H·W, C], without a copy if it is channels last in memory."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)
