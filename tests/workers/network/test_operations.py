import pytest
import torch
import torch.nn.functional as F
from torch import nn

from results_schema.errors import SpecError
from results_schema.genotype import OPERATIONS
from workers.network.operations import (
    AvgPool,
    BatchNorm,
    FactorizedReduce,
    StridedPointwise,
    build_operation,
)


@pytest.mark.parametrize("channels", [4, 6])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_keeps_channels_and_divides_the_map(name: str, stride: int, channels: int):
    x = torch.randn(2, channels, 8, 12)
    assert build_operation(name, channels, stride)(x).shape == (
        2,
        channels,
        8 // stride,
        12 // stride,
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6, 7, 8, 9, 12])
def test_a_strided_1x1_convolution_of_few_channels_has_the_right_gradients(channels: int):
    """On processors with AVX2 alone, oneDNN's own corrupts the heap below eight channels."""
    conv = StridedPointwise(channels, channels + 1, 2)
    exact = nn.Conv2d(channels, channels + 1, 1, 2, bias=False, dtype=torch.float64)
    exact.load_state_dict(conv.state_dict())
    conv.to(memory_format=torch.channels_last)
    x = torch.randn(48, channels, 8, 9).to(memory_format=torch.channels_last).requires_grad_()
    wide = x.detach().double().requires_grad_()
    found = [torch.autograd.grad(conv(x).square().sum(), (x, conv.weight)) for _ in range(20)][-1]
    right = torch.autograd.grad(exact(wide).square().sum(), (wide, exact.weight))
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", sorted(set(OPERATIONS) - {"skip_connect"}))
def test_odd_channels_and_maps_round_up(name: str):
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
    skip = build_operation("skip_connect", 2, 2).eval()
    assert isinstance(skip, FactorizedReduce)
    for convolution in (skip.conv_1, skip.conv_2):
        nn.init.zeros_(convolution.weight)
        convolution.weight.data[0, 0] = 1
    x = torch.arange(32.0).reshape(1, 2, 4, 4)
    y = skip(x) * (1 + skip.bn.eps) ** 0.5
    torch.testing.assert_close(y[0, 0], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    torch.testing.assert_close(y[0, 1], torch.tensor([[5.0, 7.0], [13.0, 15.0]]))


def test_skip_at_stride_1_is_the_identity():
    x = torch.randn(2, 4, 8, 8)
    assert build_operation("skip_connect", 4, 1)(x) is x


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
