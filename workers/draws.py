"""Seeds: every random draw comes from (seed, epoch, purpose), never from the process's state.

So a resumed trial draws what an undisturbed one would have, and two purposes never share a stream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: object) -> int:
    """Return a seed for one purpose, in [0, 2⁶³): from SHA-256, the same on every machine.

    Args:
        seed: The trial's seed.
        purpose: What the draws are for, as JSON values, such as `"augmentation", 12`.
    """
    text = json.dumps([seed, *purpose], separators=(",", ":"), allow_nan=False)
    # One bit is dropped, so that the seed fits a signed 64-bit integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for the draws of one purpose in one epoch."""
    return torch.Generator().manual_seed(derive(seed, purpose, epoch))


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Let the process's own generators draw for an epoch within it, and restore them afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "forward", epoch))
        yield
