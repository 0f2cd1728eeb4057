"""What a store tells of a key without reading it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Stat:
    """One key's bytes, seen from outside.

    Attributes:
        size: Of the bytes.
        mark: Another one after each put.
        age: Seconds since they were put, by the store's clock.
    """

    size: int
    mark: str
    age: float
