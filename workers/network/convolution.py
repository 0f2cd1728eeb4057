"""A convolution of which each pass may run in a memory layout, and so by a kernel, of its own.

On CUDA the layout chooses the kernel of a depthwise convolution: cuDNN's where the map or the
weight is channels_last, else torch's own. So the passes need no switch of cuDNN, which is one for
the whole process and would be read again, by another thread, when the backward pass runs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from workers.network.layout import Layout, laid


class Ways(NamedTuple):
    """How the passes of a convolution are computed; all of them give the same within rounding.

    Attributes:
        frame: Layout of what the convolution returns, forward and backward. What comes in is taken
            as it lies, so the first convolution of a network decides for the maps between all.
        forward: Layout in which the output is computed.
        inputs: Likewise the gradient of the input.
        weights: Likewise the gradient of the weight.
        flipped: Whether the gradient of the input is computed as a forward convolution, by the
            kernel turned about; see `can_flip`.
    """

    frame: Layout = "channels_last"
    forward: Layout = "channels_last"
    inputs: Layout = "channels_last"
    weights: Layout = "channels_last"
    flipped: bool = False


class Convolution(nn.Conv2d):
    """`nn.Conv2d` with zero padding, in the ways that tuning may give it.

    Attributes:
        ways: None leaves every choice to torch, by the layout of the map and the weight.
    """

    ways: Ways | None = None

    def forward(self, input: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if self.ways is None:
            return F.conv2d(
                input, weight, bias, self.stride, self.padding, self.dilation, self.groups
            )
        if bias is not None:
            raise TypeError("a convolution with a bias can't be tuned")
        device = input.device.type
        if torch.is_autocast_enabled(device):
            dtype = torch.get_autocast_dtype(device)
            input, weight = input.to(dtype), weight.to(dtype)
        return convolve(input, weight, self.geometry, self.ways)

    @property
    def geometry(self) -> Geometry:
        """Stride, padding, dilation and groups."""
        if isinstance(self.padding, str):
            raise TypeError(f"padding has to be given in pixels, not as {self.padding!r}")
        return Geometry(self.stride, self.padding, self.dilation, self.groups)


class Geometry(NamedTuple):
    """What a convolution is besides its weight; the pairs are of rows and columns."""

    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


def can_flip(geometry: Geometry, kernel: tuple[int, ...]) -> bool:
    """Whether the input's gradient is a forward convolution of the output's: at stride 1."""
    reach = _turned_padding(geometry, kernel)
    return geometry.stride == (1, 1) and min(reach) >= 0


def convolve(inputs: Tensor, weight: Tensor, geometry: Geometry, ways: Ways) -> Tensor:
    """Convolves maps [N, C, H, W] by a weight of the same dtype, in the given ways."""
    return _InWays.apply(inputs, weight, geometry, ways)


class _InWays(torch.autograd.Function):
    """The convolution and its two gradients."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, weight: Tensor, geometry: Geometry, ways: Ways) -> Tensor:
        ctx.geometry, ctx.ways = geometry, ways
        lying = laid(inputs, ways.forward)
        # The backward pass need not lay it out again where the weight's gradient wants it so.
        ctx.save_for_backward(lying if ways.weights == ways.forward else inputs, weight)
        output = _forward(lying, laid(weight, ways.forward), geometry)
        return laid(output, ways.frame)

    @staticmethod
    @once_differentiable  # an input kept in another layout is cut off from its graph
    def backward(  # type: ignore[override] # the decorator's type drops the names
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        [gradient] = grad_outputs
        inputs, weight = ctx.saved_tensors
        geometry, ways = ctx.geometry, ctx.ways
        for_inputs, for_weights, *_ = ctx.needs_input_grad
        by_layout: dict[Layout, Tensor] = {}

        def gradient_in(layout: Layout) -> Tensor:
            if layout not in by_layout:
                by_layout[layout] = laid(gradient, layout)
            return by_layout[layout]

        def backward(layout: Layout, mask: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
            return torch.ops.aten.convolution_backward(
                gradient_in(layout),
                laid(inputs, layout),
                laid(weight, layout),
                None,
                geometry.stride,
                geometry.padding,
                geometry.dilation,
                False,
                (0, 0),
                geometry.groups,
                mask,
            )

        to_inputs = to_weights = None
        if for_inputs and ways.flipped:
            turned = _forward(
                gradient_in(ways.inputs),
                laid(_turned(weight, geometry.groups), ways.inputs),
                geometry._replace(padding=_turned_padding(geometry, tuple(weight.shape[2:]))),
            )
            to_inputs = laid(turned, ways.frame)
        elif for_inputs and for_weights and ways.inputs == ways.weights:
            to_inputs, to_weights, _ = backward(ways.inputs, [True, True, False])
        elif for_inputs:
            to_inputs, _, _ = backward(ways.inputs, [True, False, False])
        if for_weights and to_weights is None:
            _, to_weights, _ = backward(ways.weights, [False, True, False])
        if to_inputs is not None:
            to_inputs = laid(to_inputs, ways.frame)
        return to_inputs, to_weights, None, None


def _forward(inputs: Tensor, weight: Tensor, geometry: Geometry) -> Tensor:
    stride, padding, dilation, groups = geometry
    return torch.ops.aten.convolution(
        inputs, weight, None, stride, padding, dilation, False, (0, 0), groups
    )


def _turned(weight: Tensor, groups: int) -> Tensor:
    """The kernels turned about, and of each group the channels' parts exchanged."""
    outputs, inputs, height, width = weight.shape
    grouped = weight.view(groups, outputs // groups, inputs, height, width).transpose(1, 2)
    return grouped.reshape(groups * inputs, outputs // groups, height, width).flip(2, 3)


def _turned_padding(geometry: Geometry, kernel: tuple[int, ...]) -> tuple[int, ...]:
    along = zip(geometry.dilation, kernel, geometry.padding, strict=True)
    return tuple(dilation * (side - 1) - padding for dilation, side, padding in along)
