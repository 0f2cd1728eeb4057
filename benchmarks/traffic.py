"""The least bytes that a training step moves: `uv run python benchmarks/traffic.py`.

Counted, not measured, so that the numbers are the same on every machine. A step is run on one image
and on two, and the tensors that each kernel reads and writes are counted; every further image of a
batch adds what the second adds. There are two floors. *Unfused*: every kernel of the eager step
reads its inputs from memory and writes its outputs there, each once. *Fused*: normalisation, ReLU,
additions, casts and concatenation are part of the convolutions and pools around them and cost
nothing; only those, the head and the optimizer touch memory.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Setting
from benchmarks.measure import argument_parser, publish, table
from workers.training.precision import MixedPrecision

_UNFUSABLE = ("conv", "pool", "mm")
"""Parts of the names of kernels that have to touch memory when all else is fused."""

_VIEWS = frozenset(
    {"_unsafe_view", "alias", "detach", "empty", "empty_like", "expand", "permute", "select"}
    | {"slice", "split", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"}
)
"""Operations that move nothing."""

_OPTIMIZER_PASSES = 5 + 1
"""Reads of weight, gradient and momentum, writes of weight and momentum; one more read of the
gradient for its norm (the scaling is part of a fused optimizer's reads)."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that a step of one network moves, and kernels of its forward and backward pass."""

    unfused: int
    fused: int
    kernels: int


def count_traffic(setting: Setting, precision: str = "fp32") -> Traffic:
    """Count a step of the setting's network at its batch size; nothing runs on its device."""
    device = torch.device("cpu")
    about = setting.data(device).about
    network = setting.network().to(device).train()
    mixed = MixedPrecision(network, precision)
    counts = []
    for images in (1, 2):
        pixels = torch.zeros(images, about.channels, about.size, about.size)
        labels = torch.zeros(images, dtype=torch.int64)
        with ByteCounter() as counter:
            with mixed.autocast():
                loss = functional.cross_entropy(network(pixels), labels)
            loss.backward()
            mixed.collect_gradients()
        network.zero_grad(set_to_none=True)
        counts.append(counter)
    one, two = (counter.bytes for counter in counts)
    others = setting.recipe.batch_size - 1
    moved = {name: one[name] + others * (two[name] - one[name]) for name in two}
    fused = sum(moved[name] for name in moved if any(part in name for part in _UNFUSABLE))
    optimizer = _OPTIMIZER_PASSES * sum(_size(weight) for weight in network.parameters())
    return Traffic(sum(moved.values()) + optimizer, fused + optimizer, counts[0].kernels)


class ByteCounter(TorchDispatchMode):
    """Counts the bytes of every tensor that a kernel reads and writes."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes: Counter[str] = Counter()
        self.kernels = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name not in _VIEWS:
            # A tensor that is passed twice is read once; one that is returned is written too.
            inputs = {id(leaf): leaf for leaf in tree_leaves((args, kwargs))}
            tensors = [*inputs.values(), *tree_leaves(result)]
            self.bytes[name] += sum(_size(leaf) for leaf in tensors if isinstance(leaf, Tensor))
            self.kernels += 1
        return result


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


def main() -> int:
    """Print the floors of the paper's network."""
    options = argument_parser(__doc__).parse_args()
    setting = Setting(torch.device("cpu"), dataset="synthetic_80x3x32_10")
    # TF32 moves what fp32 does.
    counts = {precision: count_traffic(setting, precision) for precision in ("fp32", "bf16")}
    rows = [
        [name, f"{one.unfused / 1e9:.1f} GB", f"{one.fused / 1e9:.1f} GB", f"{one.kernels:,}"]
        for name, one in counts.items()
    ]
    step = f"a step of {setting.recipe.batch_size} images"
    text = table((step, "unfused", "fused", "kernels, forward and backward"), rows)
    return publish(options.write, "traffic", text)


if __name__ == "__main__":
    sys.exit(main())
