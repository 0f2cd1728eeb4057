"""The state that a program commits, as tensors of a safetensors file: nothing is pickled.

Nested dicts, lists and tuples of tensors and plain values become numbered tensors and, in a tensor
of bytes, JSON that says how they are nested. The process's generators of random numbers are saved
with each state, so that a program that draws from them resumes exactly.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, SpecError

_STRUCTURE = "structure"
_DEEPEST = 50
_PLAIN = (bool, int, float, str, type(None))


def encode(state: Mapping[str, Any], device: torch.device) -> dict[str, Tensor]:
    """Return tensors on the CPU that `decode` turns into the state, and the generators, again.

    Raises:
        SpecError: It holds something else than tensors, plain values, dicts, lists and tuples.
    """
    if not isinstance(state, Mapping):
        fix = "commit a dict, such as {'model': model.state_dict(), 'epoch': epoch}"
        raise SpecError(f"the committed state is a {type(state).__name__}", fix=fix)
    tensors: dict[str, Tensor] = {}
    content = [_encode("state", one, tensors, 0) for one in (state, _generators(device))]
    # Bytes and not text: safetensors keep no other metadata in a checked place.
    text = bytearray(json.dumps(content).encode())
    return tensors | {_STRUCTURE: torch.frombuffer(text, dtype=torch.uint8)}


def decode(tensors: Mapping[str, Tensor], where: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the state and the generators that `encode` was given.

    Raises:
        CorruptData: The tensors are no program's state.
    """
    try:
        text = bytes(tensors[_STRUCTURE].numpy())
        state, generators = (_decode(one, tensors, 0) for one in parse_json(text))
        if not (isinstance(state, dict) and isinstance(generators, dict)):
            raise ValueError("it is no dict")
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise CorruptData(f"not the state of a program: {error}", where=where) from error
    return state, generators


def _encode(name: str, value: Any, tensors: dict[str, Tensor], depth: int) -> Any:
    if depth > _DEEPEST:
        raise SpecError(f"{name} is nested too deep", fix="commit a flatter dict")
    if isinstance(value, Tensor):
        key = str(len(tensors))
        # A copy: the program goes on to change its weights, and two names may share memory.
        tensors[key] = value.detach().to("cpu", copy=True).contiguous()
        return {"t": key}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, Mapping):
        pairs = []
        for key, one in value.items():
            if not (type(key) in (str, int, bool) or key is None):
                raise SpecError(f"{name} has the key {key!r}", fix="use text or whole numbers")
            pairs.append([key, _encode(f"{name}[{key!r}]", one, tensors, depth + 1)])
        return {"d": pairs}
    if isinstance(value, list | tuple):
        kind = "l" if isinstance(value, list) else "u"
        items = enumerate(value)
        return {kind: [_encode(f"{name}[{i}]", one, tensors, depth + 1) for i, one in items]}
    for kind in _PLAIN:
        if isinstance(value, kind):
            return value
    what = f"{name} is a {type(value).__module__}.{type(value).__qualname__}"
    raise SpecError(what, fix="commit tensors, numbers, text, and dicts and lists of these")


def _decode(content: Any, tensors: Mapping[str, Tensor], depth: int) -> Any:
    if depth > _DEEPEST:
        raise ValueError("it is nested too deep")
    if not isinstance(content, dict):
        if not isinstance(content, _PLAIN):
            raise ValueError("it holds a bare list")
        return content
    [(kind, value)] = content.items()
    if kind == "t":
        return tensors[value]
    if kind == "d":
        return {key: _decode(one, tensors, depth + 1) for key, one in value}
    if kind not in ("l", "u"):
        raise ValueError(f"it holds a {kind!r}")
    items = [_decode(one, tensors, depth + 1) for one in value]
    return items if kind == "l" else tuple(items)


def seed_generators(seed: int) -> None:
    """Seed the generators of the process, as a program may draw from any of them."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def restore_generators(saved: Mapping[str, Any], device: torch.device) -> None:
    """Return the generators to where they were when a state was committed."""
    version, numbers, gauss = saved["python"]
    random.setstate((version, tuple(numbers.tolist()), gauss))
    kind, keys, *rest = saved["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    torch.set_rng_state(saved["torch"])
    # A trial that began on a CPU has none of a GPU.
    if device.type == "cuda" and saved["cuda"] is not None:
        torch.cuda.set_rng_state(saved["cuda"], device)


def _generators(device: torch.device) -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    kind, keys, *rest = np.random.get_state()
    return {
        "python": (version, torch.tensor(numbers), gauss),
        "numpy": (kind, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
