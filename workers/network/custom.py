"""Operations of plug-ins: a module of the user's within a network, and what is required of it.

A plug-in registers a builder that takes channels C, stride and whether normalisation is affine, and
returns a module from [N, C, H, W] to [N, C, ⌈H/stride⌉, ⌈W/stride⌉].
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.plugins import LOADED, Entry
from workers.cells.operations import OperationCost

_IMAGES = 2  # of a trial run: batch normalisation needs several values
_LONGEST = 200  # characters of an error's message


class Custom(nn.Module):
    """A plug-in's operation on an edge.

    Attributes:
        operation: The module that its builder has returned.
        entry: The registry's entry.
    """

    def __init__(self, entry: Entry, channels: int, stride: int) -> None:
        super().__init__()
        self.entry = entry
        self.operation = _build(entry, channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.operation(x)


def give_generator(network: nn.Module, generator: torch.Generator) -> None:
    """Let every module of a network that has a `generator` draw from this one."""
    for module in network.modules():
        if "generator" in vars(module):
            module.__dict__["generator"] = generator


def examine(entry: Entry, channels: int, stride: int, side: int) -> OperationCost:
    """Return what an operation costs on an output map of side × side pixels.

    The module is built and run once, on the meta device, which computes nothing.

    Raises:
        SpecError: The builder or the module fails, or the module's output has another shape, it
            changes its input, draws random numbers that no trial could draw again, or the declared
            cost is not that of the module.
    """
    _try_out(entry, entry.value, stride)
    declared = entry.about.get("cost")
    if declared is None:
        return _measured(entry, entry.value, channels, stride, side)
    with _reported(entry, stride, "its cost"):
        parameters, multiply_adds = declared(channels, stride, side * side)
    found = _measured(entry, entry.value, 4, stride, 4).parameters
    with _reported(entry, stride, "its cost"):
        said = declared(4, stride, 16)[0]
    if said != found:
        what = f"its cost has {said} parameters of 4 channels, and its module {found}"
        raise _error(entry, stride, what, "return (parameters, multiply-adds of one image)")
    return OperationCost(int(parameters), int(multiply_adds))


@lru_cache(maxsize=10_000)
def _measured(
    entry: Entry, builder: Callable[..., Any], channels: int, stride: int, side: int
) -> OperationCost:
    """Return the cost of a module on the meta device, on the CPU if it does without that."""
    try:
        module, multiply_adds = _run(entry, channels, stride, side, "meta")
    except SpecError:
        # Some modules read numbers, which the meta device has not.
        module, multiply_adds = _run(entry, channels, stride, side, "cpu")
    return OperationCost(sum(p.numel() for p in module.parameters()), multiply_adds)


@lru_cache(maxsize=1000)
def _try_out(entry: Entry, builder: Callable[..., Any], stride: int) -> None:
    """Check what can't be seen on the meta device, where the module runs on a CPU at all."""
    _measured(entry, builder, 4, stride, 4)
    before = torch.random.get_rng_state()
    try:
        with torch.random.fork_rng(devices=[]):
            module = Custom(entry, 4, stride)
            give_generator(module, torch.Generator())
            built = torch.random.get_rng_state()
            module(torch.randn(_IMAGES, 4, 8, 8, generator=torch.Generator().manual_seed(0)))
            draws = not torch.equal(built, torch.random.get_rng_state())
    except Exception:
        return  # it has run on the meta device: this one needs a GPU
    finally:
        torch.random.set_rng_state(before)
    if draws:
        raise _error(
            entry,
            stride,
            "it draws from torch's own generator, so that a resumed trial would draw other numbers",
            "set self.generator = None in its module and draw with generator=self.generator",
        )


def _run(entry: Entry, channels: int, stride: int, side: int, device: str) -> tuple[nn.Module, int]:
    """Build a module and run it; return it and its multiply-adds for one image."""
    from torch.utils.flop_counter import FlopCounterMode  # it loads Triton, for plug-ins alone

    with torch.random.fork_rng(devices=[]), torch.device(device):
        module = Custom(entry, channels, stride)
        x = torch.zeros(_IMAGES, channels, side * stride, side * stride, device=device)
        before = x._version
        counter = FlopCounterMode(display=False)
        with _reported(entry, stride, "it"), torch.no_grad(), counter:
            output = module(x)
    if not isinstance(output, Tensor):
        what = f"it returns {_article(output)}, not a tensor"
        raise _error(entry, stride, what, "return a map [N, C, H, W]")
    wanted = (_IMAGES, channels, side, side)
    if output.shape != wanted:
        what = f"it maps {list(x.shape)} to {list(output.shape)}, not to {list(wanted)}"
        raise _error(
            entry, stride, what, "keep the channels, and divide height and width by stride"
        )
    if not output.is_floating_point():
        raise _error(entry, stride, f"it returns {output.dtype}", "return floating-point numbers")
    if x._version != before:
        fix = "use no inplace=True on the input, which other edges read too"
        raise _error(entry, stride, "it changes its input", fix)
    # A multiply-add counts as two operations.
    return module, counter.get_total_flops() // 2 // _IMAGES


def _build(entry: Entry, channels: int, stride: int) -> nn.Module:
    with _reported(entry, stride, "its builder"):
        module = entry.resolve()(channels, stride, True)
    if not isinstance(module, nn.Module):
        what = f"its builder returns {_article(module)}, not a module"
        raise _error(entry, stride, what, "return a torch.nn.Module")
    return module


@contextmanager
def _reported(entry: Entry, stride: int, what: str) -> Iterator[None]:
    """Turn an error of the user's code into one line that names the line of the plug-in."""
    try:
        yield
    except SpecError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        message = message[:_LONGEST] + "…" * (len(message) > _LONGEST)
        what = f"{what} fails: {type(error).__name__}: {message}{_line(entry, error)}"
        raise _error(entry, stride, what, "run it with Python to see more") from error


def _line(entry: Entry, error: Exception) -> str:
    plugin = LOADED.get(entry.origin)
    frames = traceback.extract_tb(error.__traceback__)
    lines = [one.lineno for one in frames if plugin and one.filename == str(plugin.path)]
    return f" ({entry.origin}:{lines[-1]})" if lines else ""


def _article(value: Any) -> str:
    kind = type(value).__name__
    return "None" if value is None else f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _error(entry: Entry, stride: int, what: str, fix: str) -> SpecError:
    named = f"operation {entry.name} of {entry.origin}, stride {stride}"
    return SpecError(f"{named}: {what}", fix=fix)
