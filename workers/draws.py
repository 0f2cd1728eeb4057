"""Seeds: every random draw comes from (seed, epoch, purpose), never from the process's state.

So a resumed trial draws what an undisturbed one would have, and two purposes never share a stream.
"""

from __future__ import annotations

import hashlib
import json

import torch


def derive(seed: int, *purpose: object) -> int:
    """Return a seed for one purpose, JSON values such as `"augmentation", 12`, in [0, 2⁶³)."""
    text = json.dumps([seed, *purpose], separators=(",", ":"), allow_nan=False)
    # One bit is dropped, so that the seed fits a signed 64-bit integer.
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, epoch: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for the draws of one purpose in one epoch."""
    return torch.Generator().manual_seed(derive(seed, purpose, epoch))
