"""Average pooling whose native gradient is checked on the machine at hand before it is trusted."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_IMAGES = 4
"""Images that a check pools."""


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
        """By torch's own padding."""
        padding = self.kernel // 2
        return F.avg_pool2d(x, self.kernel, self.stride, padding, count_include_pad=False)

    def pad_and_pool(self, x: Tensor) -> Tensor:
        """The same average by explicit padding."""
        border = [self.kernel // 2] * 4
        inside = F.pad(x.new_ones(1, 1, *x.shape[2:]), border)
        total = F.avg_pool2d(F.pad(x, border), self.kernel, self.stride)
        return total / F.avg_pool2d(inside, self.kernel, self.stride)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}, stride={self.stride}"


def trust(pool: AvgPool, shape: tuple[int, ...], dtype: torch.dtype, device: str) -> bool:
    """Return whether torch's own pooling of such maps is right; checked once a process.

    Args:
        pool: Window and stride.
        shape: Of the maps, [N, C, H, W]; few of N are tried.
        dtype: Of the maps.
        device: Where they are.
    """
    images = min(shape[0], _IMAGES)
    return _is_trusted((pool.kernel, pool.stride), (images, *shape[1:]), dtype, device)


@cache
@torch.inference_mode(False)  # a surface pools within inference mode, where nothing has a gradient
def _is_trusted(
    window: tuple[int, int], shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> bool:
    pool = AvgPool(*window)
    maps = torch.empty(shape, dtype=dtype, device=device)
    layouts = torch.channels_last, torch.contiguous_format
    return all(native_is_right(pool, maps.contiguous(memory_format=layout)) for layout in layouts)


def native_is_right(
    pool: AvgPool, like: Tensor, native: Callable[[Tensor], Tensor] | None = None
) -> bool:
    """Whether torch's own padded pooling and its gradient are right on a device.

    They are compared with explicit padding in float64 on the CPU, for fresh normal draws of the
    given shape.

    Args:
        pool: Window and stride.
        like: Its shape [N, C, H, W], dtype, device and layout are checked.
        native: What to check, in place of `pool.native`.
    """
    stream = torch.Generator().manual_seed(0)
    exact = torch.randn(like.shape, generator=stream, dtype=torch.float64)
    # Rounded as the device will see it, so that what is compared starts from equal numbers.
    maps = exact.to(like.dtype).to(like.device).contiguous(memory_format=_layout(like))
    ours = _pooled_with_gradient(native or pool.native, maps)
    theirs = _pooled_with_gradient(pool.pad_and_pool, maps.cpu().double())
    # Sums of at most 25 terms: some ten roundings.
    tolerance = 10 * torch.finfo(like.dtype).eps
    return all(
        torch.allclose(one.cpu().double(), other, rtol=tolerance, atol=tolerance)
        for one, other in zip(ours, theirs, strict=True)
    )


def _pooled_with_gradient(pool: Callable[[Tensor], Tensor], maps: Tensor) -> tuple[Tensor, Tensor]:
    """The pooled maps, and the gradient of a sum of them under weights that differ by pixel."""
    with torch.enable_grad():
        leaf = maps.detach().requires_grad_()
        pooled = pool(leaf)
        # 61 is prime, so that no row or column repeats the weights of another.
        weights = (torch.arange(pooled.numel()) % 61 / 32 - 1).view(pooled.shape)
        (gradient,) = torch.autograd.grad(
            pooled, leaf, weights.to(pooled).contiguous(memory_format=_layout(maps))
        )
    return pooled.detach(), gradient


def _layout(maps: Tensor) -> torch.memory_format:
    last = maps.is_contiguous(memory_format=torch.channels_last) and not maps.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format
