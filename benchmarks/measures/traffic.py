"""The least bytes that a training step moves: what no loop can do without, whatever it launches.

A step is run on one image and on two, and the tensors that each kernel reads and writes are
counted; what the second image adds, every other one of a batch adds. Two floors come of it.
*Unfused*: every kernel of the eager step reads its inputs from memory and writes its outputs there,
each once. *Fused*: normalisation, ReLU, additions, casts and concatenation are part of the
convolutions and pools around them and cost nothing; only those, the head and the optimiser touch
memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from benchmarks.loops.setting import Setting
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
