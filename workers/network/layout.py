"""Memory layouts of feature maps, told apart where torch's own test can't."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Layout = Literal["channels_last", "contiguous"]
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")


def laid(tensor: Tensor, layout: Layout) -> Tensor:
    """The same values [N, C, H, W] in a layout, copied only where they lie otherwise.

    Where C, or both H and W, are 1, a tensor lies in both layouts at once and `contiguous()` gives
    it back with the strides that it has. A convolution goes by the strides: the weight [C, 1, k, k]
    of a network that was made channels_last draws every contiguous map to cuDNN. So the strides are
    always those that a new tensor of the layout would have.
    """
    if layout == "contiguous":
        return tensor.contiguous().view(-1).view(tensor.shape)
    batch, channels, height, width = tensor.shape
    pixels = tensor.permute(0, 2, 3, 1).contiguous().view(-1)
    return pixels.view(batch, height, width, channels).permute(0, 3, 1, 2)
