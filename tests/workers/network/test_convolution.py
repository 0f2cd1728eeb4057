"""Each pass of a convolution in each of its ways, against torch's own and finite differences."""

from __future__ import annotations

import itertools
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from results_schema.genotype import OPERATIONS
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.convolution import Convolution, Geometry, Ways, can_flip, convolve
from workers.network.layout import LAYOUTS, laid
from workers.network.network import build_network
from workers.network.operations import build_operation


def _all_convolutions() -> dict[str, Convolution]:
    """One of each kind that an edge, the stem or the auxiliary head of a network has."""
    network = build_network(
        named("DARTS"), NetworkSpec(3, 4), in_channels=1, classes=10, seed=0, auxiliary=True
    )
    halved = build_network(
        named("DARTS"), NetworkSpec(3, 4), in_channels=3, classes=10, seed=0, stem_stride=2
    )
    edges = [build_operation(name, 4, stride) for name in OPERATIONS for stride in (1, 2)]
    parts = [network.stem, halved.stem, network.auxiliary_head, *edges]
    modules = itertools.chain.from_iterable(part.modules() for part in parts if part is not None)
    return {repr(module): module for module in modules if isinstance(module, Convolution)}


CONVOLUTIONS = _all_convolutions()
WAYS = [Ways(*way) for way in itertools.product(LAYOUTS, LAYOUTS, LAYOUTS, LAYOUTS, (False, True))]


class Passes(NamedTuple):
    output: Tensor
    inputs: Tensor
    weights: Tensor


def inputs_of(convolution: Convolution) -> tuple[Tensor, Tensor]:
    """Maps with an odd and an even side, and a weight, in float64."""
    stream = torch.Generator().manual_seed(0)
    shape = 2, convolution.in_channels, 9, 8
    maps = torch.randn(shape, generator=stream, dtype=torch.float64)
    weight = torch.randn(convolution.weight.shape, generator=stream, dtype=torch.float64)
    return maps.requires_grad_(), weight.requires_grad_()


def passes(output: Tensor, maps: Tensor, weight: Tensor) -> Passes:
    gradient = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    return Passes(output, *torch.autograd.grad(output, (maps, weight), gradient))


def possible(geometry: Geometry, weight: Tensor) -> list[Ways]:
    flips = can_flip(geometry, tuple(weight.shape[2:]))
    return [ways for ways in WAYS if flips or not ways.flipped]


def test_the_kinds_are_those_of_the_genotypes():
    geometries = {(m.kernel_size, m.geometry) for m in CONVOLUTIONS.values()}
    assert ((5, 5), Geometry((2, 2), (4, 4), (2, 2), 4)) in geometries
    assert ((7, 7), Geometry((1, 1), (3, 3), (1, 1), 4)) in geometries
    assert ((1, 7), Geometry((1, 2), (0, 3), (1, 1), 1)) in geometries


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_every_way_gives_what_torch_gives(kind: str):
    convolution = CONVOLUTIONS[kind]
    geometry = convolution.geometry
    maps, weight = inputs_of(convolution)
    expected = passes(functional.conv2d(maps, weight, None, *geometry), maps, weight)
    for ways in possible(geometry, weight):
        for layout in LAYOUTS:
            found = passes(convolve(laid(maps, layout), weight, geometry, ways), maps, weight)
            for name, one, other in zip(Passes._fields, found, expected, strict=True):
                torch.testing.assert_close(
                    one, other, rtol=1e-12, atol=1e-12, msg=f"{name} by {ways}"
                )


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_gradients_are_those_of_finite_differences(kind: str):
    convolution = CONVOLUTIONS[kind]
    geometry = convolution.geometry
    maps, weight = inputs_of(convolution)
    for ways in {possible(geometry, weight)[at] for at in (1, 6, 11, -1)}:
        assert torch.autograd.gradcheck(
            lambda x, w, ways=ways: convolve(x, w, geometry, ways), (maps, weight), fast_mode=True
        )


def test_a_second_derivative_is_refused_rather_than_wrong():
    convolution = Convolution(4, 4, 3, padding=1, groups=4, bias=False)
    convolution.ways = WAYS[-1]
    maps = torch.randn(1, 4, 5, 5, requires_grad=True)
    (first,) = torch.autograd.grad(convolution(maps).square().sum(), maps, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.sum().backward()


@pytest.mark.parametrize("frame", LAYOUTS)
def test_maps_and_gradients_come_out_in_the_frame(frame: str):
    assert frame in LAYOUTS
    convolution = Convolution(4, 4, 3, padding=1, groups=4, bias=False)
    for ways in (ways for ways in WAYS if ways.frame == frame):
        maps = laid(torch.randn(2, 4, 5, 5), frame).requires_grad_()
        output = convolve(maps, convolution.weight, convolution.geometry, ways)
        assert output.stride() == laid(output, frame).stride()
        # A tensor that is not a leaf keeps the strides of the gradient that reaches it.
        seen: list[Tensor] = []
        shifted = maps + 0
        shifted.register_hook(seen.append)
        convolve(shifted, convolution.weight, convolution.geometry, ways).sum().backward()
        assert seen[0].stride() == laid(seen[0], frame).stride()


def test_only_what_is_asked_for_is_computed():
    weight = torch.randn(4, 1, 3, 3)
    geometry = Geometry((1, 1), (1, 1), (1, 1), 4)
    for ways in WAYS:
        maps, kernel = torch.randn(2, 4, 5, 5), weight.clone().requires_grad_()
        convolve(maps, kernel, geometry, ways).sum().backward()
        assert maps.grad is None and kernel.grad is not None
        maps, kernel = torch.randn(2, 4, 5, 5, requires_grad=True), weight.clone()
        convolve(maps, kernel, geometry, ways).sum().backward()
        assert maps.grad is not None and kernel.grad is None


def test_without_ways_it_is_torchs_own_to_the_bit():
    ours, library = Convolution(4, 6, 3, 2, 1, bias=False), nn.Conv2d(4, 6, 3, 2, 1, bias=False)
    library.load_state_dict(ours.state_dict())
    maps = torch.randn(2, 4, 8, 8).contiguous(memory_format=torch.channels_last)
    assert torch.equal(ours(maps), library(maps))


@pytest.mark.parametrize("flipped", [False, True])
def test_autocast_computes_in_its_type_and_leaves_gradients_in_the_weights(flipped: bool):
    plain = Convolution(4, 4, 3, padding=1, groups=4, bias=False)
    maps = torch.randn(2, 4, 6, 6)
    gradients = []
    for ways in (None, Ways("channels_last", "contiguous", "contiguous", "channels_last", flipped)):
        plain.ways, plain.weight.grad = ways, None
        leaf = maps.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            output = plain(leaf)
        assert output.dtype == torch.bfloat16
        output.float().square().sum().backward()
        assert plain.weight.grad is not None and plain.weight.grad.dtype == torch.float32
        gradients.append((output.detach(), leaf.grad, plain.weight.grad))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=0.02, atol=0.02)


def test_a_kernel_is_turned_at_stride_1_alone():
    assert can_flip(Geometry((1, 1), (2, 2), (2, 2), 4), (3, 3))
    assert not can_flip(Geometry((2, 2), (1, 1), (1, 1), 4), (3, 3))
    assert not can_flip(Geometry((1, 1), (3, 3), (1, 1), 4), (3, 3)), "padded beyond the kernel"


def test_a_bias_is_refused_where_it_would_be_forgotten():
    convolution = Convolution(2, 2, 1)
    convolution.ways = Ways()
    with pytest.raises(TypeError, match="bias"):
        convolution(torch.randn(1, 2, 3, 3))


@pytest.mark.parametrize("frame", LAYOUTS)
@pytest.mark.parametrize("name", ["DARTS", "AmoebaNet"])
def test_a_whole_network_gives_the_same_in_any_mixture_of_ways(name: str, frame: str):
    network = build_network(named(name), NetworkSpec(3, 4), in_channels=1, classes=10, seed=0)
    network = network.double().to(memory_format=torch.channels_last)
    images = torch.randn(4, 1, 16, 16, dtype=torch.float64)
    weights = list(network.parameters())

    def run() -> tuple[Tensor, ...]:
        loss = network(images).square().sum()
        gradients = torch.autograd.grad(loss, weights, allow_unused=True)
        return loss.detach(), *(gradient for gradient in gradients if gradient is not None)

    expected = run()
    usable = itertools.cycle(ways for ways in WAYS if ways.frame == frame)
    for module in network.modules():
        if isinstance(module, Convolution):
            kernel = tuple(module.weight.shape[2:])
            ways = next(usable)
            flips = ways.flipped and can_flip(module.geometry, kernel)
            module.ways = ways._replace(flipped=flips)
    for one, other in zip(run(), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
