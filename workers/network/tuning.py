"""Which layout a network's maps lie in, and how each convolution runs, as measured on its GPU.

On a CPU nothing is timed: the same trial gives the same bits there, so every map is channels last,
as `benchmarks/layout.py` has found quickest. Nor is anything timed where the same bits are asked of
a GPU. The choice changes rounding alone, so it is told in the trial's log and is no part of its
identity.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from workers.network.average_pool import AvgPool, trust
from workers.network.choice import MARGIN, Sight, Times, known, quickest
from workers.network.convolution import Convolution, Ways
from workers.network.layout import LAYOUTS, Layout
from workers.network.network import Network
from workers.network.operations import BatchNorm
from workers.network.timing import Clock, on_gpu

_TIMED = (Convolution, BatchNorm, AvgPool, nn.MaxPool2d)
"""Operations whose time depends on the layout; the others move bytes, as many in any."""

WORTHWHILE = 20_000
"""Steps from which on a trial is tuned. Timing takes some tens of seconds, not yet measured on a
GPU: the time of some thousand steps."""


def tune(
    network: Network,
    sample: Tensor,
    precision: str = "fp32",
    deterministic: bool = False,
    steps: int | None = None,
) -> str:
    """Gives each convolution of a network its ways; to be called before a CUDA graph is captured.

    Each operation on each shape is timed once a process, forward and backward, with what it costs
    to bring maps into another layout and back. Average pools are checked, and use torch's own
    kernel where it is right.

    Args:
        network: On its device, as it will be trained; its parameters and statistics are left alone.
        sample: Images [B, C, H, W] of a training batch; their values don't matter.
        precision: One of `results_schema.trial.PRECISIONS`.
        deterministic: Whether the same bits are asked for again.
        steps: How many the trial will take, if known; a short one is not tuned.

    Returns:
        A line for the trial's log.

    Raises:
        RuntimeError: The GPU is out of memory or broken.
    """
    if not sample.is_cuda:
        return "layout: channels last, which is fixed on a CPU"
    if deterministic:
        return "layout: channels last, which is fixed where the same bits are asked for"
    if steps is not None and steps < WORTHWHILE:
        return f"layout: channels last, as {steps} steps are too few to time other layouts for"
    start = time.perf_counter()
    pools = _trust_pools(_sights(network, sample, precision))
    measured = measure(network, sample, precision, on_gpu)
    measured.apply()
    return f"{measured}; {pools}{time.perf_counter() - start:.1f} s to choose"


@dataclass(frozen=True)
class Measured:
    """What was found for a network.

    Attributes:
        times: Of each operation that it runs and whose time depends on the layout.
        timed: How many operations on a shape were timed for it; others had been before.
    """

    times: dict[nn.Module, Times]
    timed: int

    def seconds(self, frame: Layout) -> float:
        """Of one forward and backward pass of all of them."""
        return sum(times[frame].seconds for times in self.times.values())

    @property
    def frame(self) -> Layout:
        """The layout of the maps between operations."""
        last, plain = (self.seconds(frame) for frame in LAYOUTS)
        return "contiguous" if plain < MARGIN * last else "channels_last"

    @property
    def ways(self) -> dict[Convolution, Ways]:
        """Of each convolution, in that layout."""
        return {
            module: times[self.frame].ways or Ways()
            for module, times in self.times.items()
            if isinstance(module, Convolution)
        }

    def apply(self) -> None:
        """Lets the network's convolutions go these ways."""
        for module, ways in self.ways.items():
            # The default is what torch does by itself with a map that is channels last.
            module.ways = None if ways == Ways() else ways

    def __str__(self) -> str:
        frame, chosen = self.frame, self.ways.values()
        counts = {
            "forward": sum(ways.forward != frame for ways in chosen),
            "input gradient": sum(ways.inputs != frame for ways in chosen),
            "weight gradient": sum(ways.weights != frame for ways in chosen),
            "by a turned kernel": sum(ways.flipped for ways in chosen),
        }
        others = ", ".join(f"{name} {count}" for name, count in counts.items() if count) or "none"
        steps = ", ".join(f"{1000 * self.seconds(layout):.2f} ms {layout}" for layout in LAYOUTS)
        return (
            f"layout: {frame} (convolutions, normalisations and pools of a step: {steps}); "
            f"of {len(chosen)} convolutions otherwise: {others}; {self.timed} shapes timed"
        )


def measure(network: Network, sample: Tensor, precision: str, clock: Clock) -> Measured:
    """Times every operation that depends on the layout, as `tune` does, and changes nothing."""
    sights = _sights(network, sample, precision)
    fresh = {sight for sight in sights.values() if not known(sight)}
    times = {module: quickest(sight, module, clock) for module, sight in sights.items()}
    return Measured(times, len(fresh))


def _sights(network: Network, sample: Tensor, precision: str) -> dict[nn.Module, Sight]:
    """What each operation is run on, from an evaluation of the sample."""
    found: dict[nn.Module, Sight] = {}
    tf32 = torch.backends.cudnn.allow_tf32
    cast = torch.bfloat16 if precision == "bf16" else None

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        maps = inputs[0]
        dtype = cast if cast and isinstance(module, Convolution) else maps.dtype
        found[module] = Sight(
            repr(module),
            tuple(maps.shape),
            dtype,
            str(maps.device),
            tf32,
            to_input=maps is not sample,  # the images themselves need no gradient
        )

    modules = [module for module in network.modules() if isinstance(module, _TIMED)]
    training = network.training
    with contextlib.ExitStack() as stack:
        stack.callback(network.train, training)
        for module in modules:
            stack.callback(module.register_forward_pre_hook(note).remove)
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(sample.device.type, cast, enabled=cast is not None))
        network.eval()
        if network.auxiliary_head is None:
            network(sample)
        else:
            network.forward_with_auxiliary(sample)
    return found


def _trust_pools(sights: dict[nn.Module, Sight]) -> str:
    """Lets each average pool use torch's own kernel where it is right; tells if it isn't."""
    pools = {module: sight for module, sight in sights.items() if isinstance(module, AvgPool)}
    for pool, sight in pools.items():
        pool.trusted = trust(pool, sight.shape, sight.dtype, sight.device)
    wrong = sum(not pool.trusted for pool in pools)
    said = f"{wrong} of {len(pools)} average pools padded by hand, as torch's gradient is wrong; "
    return said if wrong else ""
