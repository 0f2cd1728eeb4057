"""The quickest ways of one operation on one shape, timed once a process."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from workers.network.convolution import Convolution, Ways, can_flip, convolve
from workers.network.layout import LAYOUTS, Layout, laid
from workers.network.timing import Clock, Work

MARGIN = 0.97
"""What is usual stays unless something else takes less than this share of its time."""


class Sight(NamedTuple):
    """An operation on a shape, as a network was seen to run it.

    Attributes:
        operation: As it prints itself: kind, channels, window, stride, padding, dilation, groups.
        shape: Of its input, [N, C, H, W].
        dtype: In which it computes.
        device: Where.
        tf32: Whether convolutions of fp32 may round to TF32.
        to_input: Whether its input needs a gradient.
    """

    operation: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    device: str
    tf32: bool
    to_input: bool


class Timed(NamedTuple):
    """Seconds of a forward and backward pass, and of a convolution the ways that take them."""

    seconds: float
    ways: Ways | None = None


Times = dict[Layout, Timed]
"""By the frame: the layout of the maps that come in and go out."""

_known: dict[Sight, Times] = {}
_lock = Lock()


def known(sight: Sight) -> bool:
    """Whether an operation has been timed in this process."""
    return sight in _known


def quickest(sight: Sight, module: nn.Module, clock: Clock) -> Times:
    """The times of an operation at its best in either frame.

    One thread times at a time, and what it found holds for the whole process.

    Raises:
        RuntimeError: Not even the usual way runs: no memory, or a broken device.
    """
    with _lock:
        if sight not in _known:
            _known[sight] = {frame: _time(sight, module, frame, clock) for frame in LAYOUTS}
        return _known[sight]


def _time(sight: Sight, module: nn.Module, frame: Layout, clock: Clock) -> Timed:
    # A generator of its own: the process's draws are none of ours.
    stream = torch.Generator(sight.device).manual_seed(0)
    maps = torch.randn(sight.shape, generator=stream, device=sight.device).to(sight.dtype)
    maps = laid(maps, frame).requires_grad_(sight.to_input)
    if isinstance(module, Convolution):
        return _time_convolution(module, maps, frame, clock)
    # In training, and not by the network's own statistics.
    twin = copy.deepcopy(module).train()
    return Timed(clock(_both_passes(twin, maps, list(twin.parameters()))))


def _time_convolution(module: Convolution, maps: Tensor, frame: Layout, clock: Clock) -> Timed:
    """The forward pass is chosen first, alone; then the two gradients together."""
    weight = module.weight.detach().to(maps.dtype).requires_grad_()
    geometry = module.geometry

    def forward(ways: Ways) -> float:
        with torch.no_grad():
            return clock(lambda: convolve(maps, weight, geometry, ways))

    def both(ways: Ways) -> float:
        work = _both_passes(lambda x: convolve(x, weight, geometry, ways), maps, [weight])
        return clock(work)

    usual = Ways(frame, frame, frame, frame)
    others = [usual._replace(forward=layout) for layout in LAYOUTS if layout != frame]
    usual, _ = _best(usual, others, forward)
    ways, seconds = _best(usual, list(_backward_ways(module, usual, maps.requires_grad)), both)
    return Timed(seconds, ways)


def _best(usual: Ways, others: list[Ways], seconds: Callable[[Ways], float]) -> tuple[Ways, float]:
    best, least = usual, seconds(usual)
    for ways in others:
        try:
            taken = seconds(ways)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:  # a library has no kernel for it
            continue
        if taken < MARGIN * least:
            best, least = ways, taken
    return best, least


def _backward_ways(module: Convolution, usual: Ways, to_input: bool) -> Iterator[Ways]:
    """All ways to the gradients but the usual one.

    Of a dense convolution both come from one library in one layout, and its kernels for the input's
    gradient are as good as those forward.
    """
    depthwise = module.groups > 1
    kernel = tuple(module.weight.shape[2:])
    flips = (False, True) if depthwise and can_flip(module.geometry, kernel) else (False,)
    for weights in LAYOUTS:
        for inputs in LAYOUTS if depthwise and to_input else (weights,):
            for flipped in flips if to_input else (False,):
                ways = usual._replace(inputs=inputs, weights=weights, flipped=flipped)
                if ways != usual:
                    yield ways


def _both_passes(
    operation: Callable[[Tensor], Tensor], maps: Tensor, weights: list[Tensor]
) -> Work:
    leaves = [leaf for leaf in (maps, *weights) if leaf.requires_grad]
    gradient = torch.ones_like(operation(maps).detach())  # in the layout that comes out
    return lambda: torch.autograd.grad(operation(maps), leaves, gradient)
