"""The least bytes that a training step moves: `uv run python benchmarks/traffic.py`.

Counted, not measured, so that they are the same on every machine. A step is run on one image and
on two, and the tensors that each kernel reads and writes are counted; what the second image adds,
every further image of a batch adds. There are two floors. *Unfused*: every kernel of the eager step
reads its inputs from memory and writes its outputs there, each once. *Fused*: normalisation, ReLU,
additions, casts and concatenation are part of the convolutions and pools around them and cost
nothing; only those, the head and the optimizer touch memory.
"""

from __future__ import annotations

import argparse
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

# A bare machine has nothing of this project installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Setting
from benchmarks.measure import table, write
from results_schema.trial import NetworkSpec, Recipe
from workers.training.precision import MixedPrecision

_UNFUSABLE = ("conv", "pool", "mm")
"""A kernel whose name contains one of these has to touch memory when all else is fused."""

_VIEWS = frozenset(
    {"_unsafe_view", "alias", "detach", "empty", "empty_like", "expand", "permute", "select"}
    | {"slice", "split", "squeeze", "t", "transpose", "unbind", "unsqueeze", "view"}
)
"""Operations that move nothing."""

_OPTIMISER_PASSES = 5
"""Reads of weight, gradient and momentum, writes of weight and momentum."""
_CLIPPING_PASSES = 1
"""A read of the gradient, for its norm; the scaling is part of a fused optimiser's reads."""


@dataclass(frozen=True)
class Traffic:
    """Bytes that one step of one network moves.

    Attributes:
        unfused: With a kernel for each operation.
        fused: With convolutions, pools, head and optimiser alone.
        kernels: Number of kernels of the forward and the backward pass.
        by_kernel: Unfused bytes of each kind of kernel.
    """

    unfused: int
    fused: int
    kernels: int
    by_kernel: dict[str, int]


def count_traffic(setting: Setting, precision: str = "fp32") -> Traffic:
    """Counts a step of the setting's network at its batch size.

    Args:
        setting: The job; nothing runs on its device.
        precision: "bf16" has two bytes a value of most maps; all others four.
    """
    device = torch.device("cpu")
    about = setting.data(device).about
    network = setting.network().to(device).train()
    mixed = MixedPrecision(network, precision)
    counts = []
    for images in (1, 2):
        pixels = torch.zeros(images, about.channels, about.size, about.size)
        labels = torch.zeros(images, dtype=torch.int64)
        with _Counting() as counting:
            with mixed.autocast():
                loss = functional.cross_entropy(network(pixels), labels)
            loss.backward()
            mixed.collect_gradients()
        network.zero_grad(set_to_none=True)
        counts.append(counting)
    one, two = (counting.bytes for counting in counts)
    others = setting.recipe.batch_size - 1
    moved = Counter({name: one[name] + others * (two[name] - one[name]) for name in two})
    weights = sum(w.numel() * w.element_size() for w in network.parameters())
    optimiser = (_OPTIMISER_PASSES + _CLIPPING_PASSES) * weights
    fused = sum(share for name, share in moved.items() if _touches_memory(name))
    return Traffic(
        sum(moved.values()) + optimiser,
        fused + optimiser,
        counts[0].kernels,
        dict(moved.most_common()),
    )


def _touches_memory(name: str) -> bool:
    return any(part in name for part in _UNFUSABLE)


class _Counting(TorchDispatchMode):
    """Counts the bytes of every tensor that a kernel takes and gives."""

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
            # A tensor that is taken twice is read once; one that is given back is written too.
            taken = {id(leaf): leaf for leaf in tree_leaves((args, kwargs)) if _is_tensor(leaf)}
            given = [leaf for leaf in tree_leaves(result) if _is_tensor(leaf)]
            self.bytes[name] += sum(map(_size, taken.values())) + sum(map(_size, given))
            self.kernels += 1
        return result


def _is_tensor(leaf: object) -> bool:
    return isinstance(leaf, Tensor)


def _size(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()


PRECISIONS = ("fp32", "bf16")
"""TF32 moves what fp32 does."""


def main() -> None:
    """Prints the floors, and the kernels that move most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotype", default="DARTS")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--write", type=Path, help="document to put the table into")
    options = parser.parse_args()
    setting = Setting(
        torch.device("cpu"),
        dataset="synthetic_80x3x32_10",
        genotype=options.genotype,
        size=NetworkSpec(options.cells, options.channels),
        recipe=Recipe(batch_size=options.batch),
    )
    counts = {precision: count_traffic(setting, precision) for precision in PRECISIONS}
    rows = [
        [name, f"{one.unfused / 1e9:.1f} GB", f"{one.fused / 1e9:.1f} GB", f"{one.kernels:,}"]
        for name, one in counts.items()
    ]
    step = f"a step of {options.batch} images"
    text = table((step, "unfused", "fused", "kernels, forward and backward"), rows)
    print(text)
    largest = list(counts["fp32"].by_kernel.items())[:10]
    print("\n" + table(("fp32, unfused", "GB"), [[n, f"{b / 1e9:.2f}"] for n, b in largest]))
    if options.write:
        write(options.write, "traffic", text)


if __name__ == "__main__":
    main()
