import copy
import itertools
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from results_schema.errors import SpecError
from workers.cells.operations import OPERATIONS
from workers.network.operations import (
    AvgPool,
    BatchNorm,
    FactorizedReduce,
    build_operation,
    native_is_right,
    trust,
)


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_channels_and_divides_the_map_rounding_up(name: str):
    for stride, channels in itertools.product((1, 2), (4, 6)):
        found = build_operation(name, channels, stride)(torch.randn(2, channels, 8, 12))
        assert found.shape == (2, channels, 8 // stride, 12 // stride)
    if name != "skip_connect":  # which halves channels and maps
        assert build_operation(name, 5, 2)(torch.randn(2, 5, 7, 9)).shape == (2, 5, 4, 5)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("max_pool_3x3", 0),
        ("avg_pool_3x3", 0),
        ("skip_connect", 0),
        ("sep_conv_3x3", 2 * (9 * 6 + 36 + 12)),
        ("sep_conv_5x5", 2 * (25 * 6 + 36 + 12)),
        ("sep_conv_7x7", 2 * (49 * 6 + 36 + 12)),
        ("dil_conv_3x3", 9 * 6 + 36 + 12),
        ("dil_conv_5x5", 25 * 6 + 36 + 12),
        ("conv_7x1_1x7", 2 * 7 * 36 + 12),
        ("conv_1x1", 36 + 12),
        ("conv_3x3", 9 * 36 + 12),
        ("conv_3x1_1x3", 2 * 3 * 36 + 12),
        ("conv_1x3_3x1", 2 * (3 * 36 + 12)),
        ("conv_1x7_7x1", 2 * (7 * 36 + 12)),
        ("avg_pool_2x2", 0),
        ("avg_pool_5x5", 0),
        ("max_pool_2x2", 0),
        ("noise", 0),
    ],
)
def test_parameters_are_depthwise_pointwise_and_affine(name: str, parameters: int):
    operation = build_operation(name, 6, 1)
    assert sum(parameter.numel() for parameter in operation.parameters()) == parameters


@pytest.mark.parametrize(("name", "reach"), [("dil_conv_3x3", 2), ("dil_conv_5x5", 4)])
def test_a_dilated_convolution_reaches_past_its_kernel(name: str, reach: int):
    operation = build_operation(name, 1, 1)
    assert isinstance(operation, nn.Sequential)
    x = torch.zeros(1, 1, 11, 11)
    x[..., 5, 5] = 1
    touched = operation[1](operation[0](x))[0, 0].nonzero()
    assert sorted({int(row) for row, _ in touched}) == list(range(5 - reach, 5 + reach + 1, 2))


def test_average_pool_leaves_padding_out_of_the_count():
    x = torch.arange(16.0).reshape(1, 1, 4, 4)
    pooled = build_operation("avg_pool_3x3", 1, 1)(x)[0, 0]
    assert pooled[0, 0] == (0 + 1 + 4 + 5) / 4
    assert pooled[0, 1] == (0 + 1 + 2 + 4 + 5 + 6) / 6
    assert pooled[1, 1] == 5
    assert pooled[3, 3] == (10 + 11 + 14 + 15) / 4


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_explicit_padding_gives_the_same_average_and_gradient(kernel: int, stride: int):
    pool = AvgPool(kernel, stride)
    x = torch.randn(2, 3, 8, 10, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    results = []
    for forward in (pool.forward, pool.pad_and_pool):
        leaf = x.clone().requires_grad_()
        y = forward(leaf)
        (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)).sum().backward()
        results.append((y, leaf.grad))
    for plain, padded in zip(*results, strict=True):
        torch.testing.assert_close(plain, padded, rtol=1e-12, atol=1e-12)


def test_a_2x2_pool_adds_zeros_at_the_end():
    x = torch.full((1, 1, 2, 2), -4.0)
    assert build_operation("avg_pool_2x2", 1, 1)(x)[0, 0].tolist() == [[-4, -2], [-2, -1]]
    assert build_operation("max_pool_2x2", 1, 1)(x)[0, 0].tolist() == [[-4, 0], [0, 0]]
    assert build_operation("max_pool_2x2", 1, 2)(x)[0, 0].tolist() == [[-4]]


def test_max_pool_never_takes_the_padding():
    x = torch.full((1, 1, 4, 4), -3.0)
    assert (build_operation("max_pool_3x3", 1, 2)(x) == -3).all()


def test_strided_skip_takes_even_pixels_then_odd_ones():
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    assert build_operation("skip_connect", 2, 1)(x) is x
    skip = build_operation("skip_connect", 2, 2).eval()
    assert isinstance(skip, FactorizedReduce)
    for convolution in (skip.conv_1, skip.conv_2):
        nn.init.zeros_(convolution.weight)
        convolution.weight.data[0, 0] = 1
    y = skip(x) * (1 + skip.bn.eps) ** 0.5
    torch.testing.assert_close(y[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    torch.testing.assert_close(y[0, 1], torch.tensor([[5.0, 7.0], [13.0, 15.0]]))


def test_stride_is_taken_once_in_a_separable_convolution():
    layers = build_operation("sep_conv_5x5", 4, 2).children()
    strides = [layer.stride for layer in layers if isinstance(layer, nn.Conv2d)]
    assert strides == [(2, 2), (1, 1), (1, 1), (1, 1)]


def test_batch_norm_normalises_and_tracks_like_the_library():
    ours, library = BatchNorm(3), nn.BatchNorm2d(3)
    for seed in range(3):
        x = torch.randn(4, 3, 5, 5, generator=torch.Generator().manual_seed(seed)) * 2 + 1
        assert torch.equal(ours(x), library(x))
    x = F.relu(torch.randn(2, 3, 4, 4))
    assert torch.equal(ours.eval()(x), library.eval()(x))
    assert torch.equal(ours.state_dict()["running_var"], library.state_dict()["running_var"])


def test_an_unknown_operation_is_named_with_the_known_ones():
    with pytest.raises(SpecError, match="sep_conv_9x9") as caught:
        build_operation("sep_conv_9x9", 4, 1)
    assert "sep_conv_7x7" in caught.value.fix


def test_noise_is_standard_normal_and_knows_nothing_of_its_input():
    x = torch.full((4, 8, 32, 32), 1e6, requires_grad=True)
    noise = build_operation("noise", 8, 2)(x)
    assert noise.shape == (4, 8, 16, 16)
    assert not noise.requires_grad
    assert abs(noise.mean()) < 0.05
    assert abs(noise.std() - 1) < 0.05


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"noise"}))
def test_gradients_of_few_channels_channels_last_are_those_of_float64(name: str, stride: int):
    """Where a kernel writes past its memory this dies, or differs (uxlfoundation/oneDNN#6035)."""
    if (name, stride) == ("skip_connect", 1):
        return
    single = build_operation(name, 2, stride).eval().to(memory_format=torch.channels_last)
    double = copy.deepcopy(single).double()
    for images in (12, 5):
        x = torch.randn(images, 2, 16, 16).contiguous(memory_format=torch.channels_last)
        pair = x.requires_grad_(), x.detach().double().requires_grad_()
        for operation, leaf in zip((single, double), pair, strict=True):
            operation.zero_grad()
            y = operation(leaf)
            y.square().sum().backward()
        gradients = [
            [leaf, *op.parameters()] for op, leaf in zip((single, double), pair, strict=True)
        ]
        for ours, exact in zip(*gradients, strict=True):
            scale = float(exact.grad.abs().max())
            torch.testing.assert_close(ours.grad.double(), exact.grad, rtol=0, atol=1e-4 * scale)


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


def wrong_gradient(pool: AvgPool, x: Tensor) -> Tensor:
    return WrongGradient.apply(x, pool.kernel, pool.stride)


def wrong_average(pool: AvgPool, x: Tensor) -> Tensor:
    return F.avg_pool2d(x, pool.kernel, pool.stride, pool.kernel // 2)


def wrong_pixel(pool: AvgPool, x: Tensor) -> Tensor:
    pooled = AvgPool.native(pool, x)
    pooled.register_hook(lambda gradient: gradient.index_fill(3, torch.tensor(0), 0))
    return pooled


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_a_check_trusts_what_is_right_and_finds_what_is_wrong(kernel, stride, dtype, layout):
    like = torch.empty(2, 5, 8, 7, dtype=dtype).contiguous(memory_format=layout)
    pool = AvgPool(kernel, stride)
    assert native_is_right(pool, like)
    for wrong in (wrong_gradient, wrong_average, wrong_pixel):
        pool.native = partial(wrong, pool)
        assert not native_is_right(pool, like), wrong


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("stride", [1, 2])
def test_a_gpu_pools_right_whether_its_own_kernel_is_trusted_or_not(stride: int):
    pool = AvgPool(3, stride)
    maps = torch.randn(4, 36, 16, 16, device="cuda").contiguous(memory_format=torch.channels_last)
    for way in (pool.pad_and_pool, pool.forward):
        other = AvgPool(3, stride)
        other.native = way
        assert native_is_right(other, maps)


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
