"""Every random draw comes from (seed, epoch, purpose), never from the state of the process.

So a resumed trial draws what an undisturbed one would have, and two purposes never share a stream.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def derive(seed: int, *purpose: object) -> int:
    """A seed of its own for one purpose, in [0, 2⁶³): from SHA-256, the same on every machine.

    Args:
        seed: The trial's seed.
        purpose: What the draws are for, as JSON can say it, such as `"augmentation", 12`.
    """
    text = json.dumps([seed, *purpose], separators=(",", ":"), allow_nan=False)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """A CPU generator for the draws of one purpose in one epoch."""
    return torch.Generator().manual_seed(derive(seed, purpose, epoch))


@contextmanager
def seeded(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Within it the process's own generators draw for this epoch; they are restored afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(derive(seed, "forward", epoch))
        yield
