from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workers.network.average_pool import AvgPool, native_is_right, trust


class WrongGradient(torch.autograd.Function):
    """A pooling that is right, whose gradient shares among padding what only pixels may get."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, kernel: int, stride: int) -> Tensor:
        ctx.shape, ctx.kernel, ctx.stride = maps.shape, kernel, stride
        return AvgPool(kernel, stride).native(maps)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        [gradient] = grad_outputs
        with torch.enable_grad():
            leaf = gradient.new_zeros(ctx.shape).requires_grad_()
            pooled = F.avg_pool2d(leaf, ctx.kernel, ctx.stride, ctx.kernel // 2)
            (wrong,) = torch.autograd.grad(pooled, leaf, gradient)
        return wrong, None, None


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
class TestCheck:
    def test_trusts_what_is_right(
        self, kernel: int, stride: int, dtype: torch.dtype, layout: torch.memory_format
    ):
        like = torch.empty(2, 5, 8, 7, dtype=dtype).contiguous(memory_format=layout)
        assert native_is_right(AvgPool(kernel, stride), like)

    def test_finds_a_wrong_gradient(
        self, kernel: int, stride: int, dtype: torch.dtype, layout: torch.memory_format
    ):
        like = torch.empty(2, 5, 8, 7, dtype=dtype).contiguous(memory_format=layout)
        pool = AvgPool(kernel, stride)

        def wrong(maps: Tensor) -> Tensor:
            return WrongGradient.apply(maps, kernel, stride)

        torch.testing.assert_close(wrong(like.zero_()), pool.native(like))
        assert not native_is_right(pool, like, wrong)

    def test_finds_a_wrong_average(
        self, kernel: int, stride: int, dtype: torch.dtype, layout: torch.memory_format
    ):
        like = torch.empty(2, 5, 8, 7, dtype=dtype).contiguous(memory_format=layout)

        def wrong(maps: Tensor) -> Tensor:
            return F.avg_pool2d(maps, kernel, stride, kernel // 2)

        assert not native_is_right(AvgPool(kernel, stride), like, wrong)

    def test_finds_one_wrong_pixel(
        self, kernel: int, stride: int, dtype: torch.dtype, layout: torch.memory_format
    ):
        like = torch.empty(2, 5, 8, 7, dtype=dtype).contiguous(memory_format=layout)
        pool = AvgPool(kernel, stride)

        def wrong(maps: Tensor) -> Tensor:
            pooled = pool.native(maps)
            pooled.register_hook(lambda gradient: gradient.index_fill(3, torch.tensor(0), 0))
            return pooled

        assert not native_is_right(pool, like, wrong)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_gpu_pools_right_whether_its_own_kernel_is_trusted_or_not(stride: int):
    pool = AvgPool(3, stride)
    maps = torch.randn(4, 36, 16, 16, device="cuda").contiguous(memory_format=torch.channels_last)
    assert native_is_right(pool, maps, pool.pad_and_pool)
    assert native_is_right(pool, maps, pool.forward)


def test_a_check_is_made_once_a_process(monkeypatch: pytest.MonkeyPatch):
    calls: list[Tensor] = []
    original = AvgPool.native

    def counted(self: AvgPool, x: Tensor) -> Tensor:
        calls.append(x)
        return original(self, x)

    monkeypatch.setattr(AvgPool, "native", counted)
    shape = (3, 2, 11, 13)  # of no other test
    with torch.inference_mode():  # as a surface pools
        assert all(trust(AvgPool(3, 1), shape, torch.float32, "cpu") for _ in range(3))
    assert [maps.is_contiguous() for maps in calls] == [False, True], "in either layout"
