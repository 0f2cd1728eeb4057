"""Damage to files: one bit flipped, or the end cut off."""

from __future__ import annotations

import random
from collections.abc import Iterator


def damaged(data: bytes, draws: random.Random) -> tuple[str, bytes]:
    """What was done to the bytes, and what they are then."""
    if draws.random() < 0.3:
        length = draws.randrange(len(data))
        return f"cut to {length} of {len(data)} bytes", data[:length]
    place, bit = draws.randrange(len(data)), draws.randrange(8)
    altered = bytearray(data)
    altered[place] ^= 1 << bit
    return f"bit {bit} of byte {place} of {len(data)} flipped", bytes(altered)


def damages(data: bytes, draws: random.Random, number: int) -> Iterator[tuple[str, bytes]]:
    """So many different ones."""
    for _ in range(number):
        yield damaged(data, draws)
