"""A statement beside what was computed: measured against bound, case by case."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLACK = 1e-9
"""Share of the bound by which rounding may exceed it."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Comparison:
    """One statement under one objective, over many cases.

    Attributes:
        statement: What is compared.
        setting: The objective, or the problem.
        holds: Whether the statement is true, so that no case may violate it; of one that is false
            as printed, or read amiss, violations are counted.
        measured: The left side, one number a case.
        bound: The right side, likewise.
        block: i of each case, from 1; 0 where a case is no block.
    """

    statement: str
    setting: str
    holds: bool
    measured: Numbers
    bound: Numbers
    block: NDArray[np.int64]

    @property
    def violated(self) -> NDArray[np.bool_]:
        """Of each case, whether the bound is exceeded, or a side is not a number."""
        return ~(self.measured <= self.bound * (1 + SLACK))

    @property
    def ratios(self) -> Numbers:
        """Measured over bound."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.measured / self.bound

    def of_block(self, block: int) -> Comparison:
        """The cases of one block alone."""
        kept = self.block == block
        return Comparison(
            self.statement,
            self.setting,
            self.holds,
            self.measured[kept],
            self.bound[kept],
            self.block[kept],
        )


def join(parts: list[Comparison]) -> Comparison:
    """The cases of several comparisons of one statement; the first one's setting stays."""
    first = parts[0]
    return Comparison(
        first.statement,
        first.setting,
        first.holds,
        np.concatenate([part.measured for part in parts]),
        np.concatenate([part.bound for part in parts]),
        np.concatenate([part.block for part in parts]),
    )
