"""Sections 4.3 and C checked on drawn cells: equations (1) to (4), Theorems 4.2 and 4.3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.draws import derive
from workers.theory import objectives, smoothness
from workers.theory.objectives import Cells, Objective, matched, narrow, wide

SLACK = 1e-9  # share of a bound by which rounding may exceed it
EXACT = 1e-10  # relative error up to which two float64 gradients count as equal
AT_ONCE = 200  # most cells computed side by side, so that memory does not grow with their number
FEW = 16  # instances over which the 2-norm is taken, since it needs eigenvalues for each


@dataclass(frozen=True)
class Comparison:
    """One statement under one objective, measured against its bound case by case.

    Attributes:
        holds: Whether the statement is true, so that no case may violate it. Violations of one that
            is false as printed, or under another reading, are counted.
        blocks: n where cases are those of blocks 1 to n, over and over; 0 where none is a block.
    """

    statement: str
    setting: str  # the objective, or the problem
    holds: bool
    measured: NDArray[np.float64]  # the left side, one number a case
    bound: NDArray[np.float64]  # the right side
    blocks: int = 0

    @property
    def violated(self) -> NDArray[np.bool_]:
        """Whether each case exceeds its bound, or has a side that is not a number."""
        return ~(self.measured <= self.bound * (1 + SLACK))

    @property
    def ratios(self) -> NDArray[np.float64]:
        """Measured over bound."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return self.measured / self.bound

    def only(self, kept: NDArray[np.bool_] | NDArray[np.intp] | slice) -> Comparison:
        """Return some of the cases, of whatever block: where a mask is true, or by their places."""
        return replace(self, measured=self.measured[kept], bound=self.bound[kept], blocks=0)


def join(parts: Sequence[Comparison]) -> Comparison:
    """Return the cases of several comparisons of one statement; the first one's setting stays."""
    measured, bound = (
        np.concatenate([getattr(part, side) for part in parts]) for side in ("measured", "bound")
    )
    return replace(parts[0], measured=measured, bound=bound)


@dataclass(frozen=True)
class Settings:
    """Settings of the draws."""

    draws: int = 350  # cells for each objective and gain
    seed: int = 0
    nodes: int = 5  # n, intermediate nodes of a cell
    width: int = 8  # d, width of a node
    batch: int = 256  # B, inputs that stand for the data
    gains: tuple[float, ...] = (0.5, 1.0, 1.5)  # of weights, whose deviation is gain/√d


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Run PyTorch in one thread: with matrices this small, several wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def check_cells(settings: Settings) -> list[Comparison]:
    """Compare every statement under every objective, the gains joined.

    Returns:
        Comparisons in the order of the paper: equations, Theorem 4.2, Theorem 4.3.
    """
    found: dict[tuple[str, str], list[Comparison]] = {}
    shape = settings.nodes, settings.width
    parts = list(enumerate(range(0, settings.draws, AT_ONCE)))
    for name, gain, (number, start) in product(objectives.OBJECTIVES, settings.gains, parts):
        draws = min(AT_ONCE, settings.draws - start)
        seed = derive(settings.seed, "theory", name, gain, number)
        generator = torch.Generator().manual_seed(seed)
        cells = objectives.draw_cells(draws, settings.batch, *shape, gain=gain, generator=generator)
        objective = objectives.OBJECTIVES[name](draws, settings.batch, *shape, generator)
        for one in _check(name, objective, cells):
            found.setdefault((one.statement, one.setting), []).append(one)
    joined = [join(parts) for parts in found.values()]
    order = list(dict.fromkeys(one.statement for one in joined))
    return sorted(
        joined, key=lambda one: (one.statement.partition(", ")[0], order.index(one.statement))
    )


def _check(name: str, objective: Objective, cells: Cells) -> Iterator[Comparison]:
    weights, inputs = cells
    at_wide = objectives.weight_gradients(objective, wide, weights, inputs)
    at_narrow = objectives.weight_gradients(objective, narrow, weights, inputs)
    at_matched = objectives.weight_gradients(objective, wide, matched(weights), inputs)
    slopes = objectives.output_gradients(objective, wide(weights, inputs))
    slopes_hat = objectives.output_gradients(objective, narrow(weights, inputs))
    for statement, holds, gradient, truth in (
        ("(1), wide cell", True, objectives.equation_1(slopes, inputs), at_wide),
        ("(2), narrow cell", True, objectives.equation_2(weights, slopes_hat, inputs), at_narrow),
        ("(3), narrow cell", True, objectives.equation_3(weights, slopes_hat, inputs), at_narrow),
        ("(4), matched weights", True, objectives.equation_4(weights, at_matched), at_narrow),
        ("(4), same W", name == "linear", objectives.equation_4(weights, at_wide), at_narrow),
    ):
        error = (gradient - truth).norm(dim=(2, 3)) / truth.norm(dim=(2, 3))  # Frobenius, [D, n]
        yield _compare(f"Equation {statement}", name, holds, error, torch.full_like(error, EXACT))
    norms = smoothness.spectral_norms(weights)
    if objective.lipschitz is not None:
        blocks = smoothness.block_smoothness(objective, cells, norms)
        yield _compare("Theorem 4.2, as printed", name, False, blocks.true, blocks.printed)
        yield _compare("Theorem 4.2, corrected", name, True, blocks.true, blocks.corrected)
    yield from _variances(name, cells, slopes, slopes_hat, norms)


def _variances(
    name: str, cells: Cells, slopes: Tensor, slopes_hat: Tensor, norms: Tensor
) -> Iterator[Comparison]:
    """Compare Theorem 4.3 at matched weights, where both cells' outputs are equal, and at one W."""
    weights, inputs = cells
    left, right = objectives.gradient_factors(weights, slopes_hat, inputs)
    read = inputs[:, :, None].expand_as(slopes)

    def narrow_and_wide(at: Tensor, norm: smoothness.Norm = "fro") -> tuple[Tensor, Tensor]:
        few = slice(None) if norm == "fro" else slice(FEW)
        hats = smoothness.block_variances(left[:, few], right[:, few], norm)
        return hats, smoothness.block_variances(at[:, few], read[:, few], norm)

    radii = smoothness.spectral_radii(weights)
    hats, equal = narrow_and_wide(slopes_hat)
    hats_2, equal_2 = narrow_and_wide(slopes_hat, 2)
    _, same = narrow_and_wide(slopes)
    for what, holds, measured, bound in (
        ("matched weights", True, hats, smoothness.theorem_4_3(equal, norms)),
        ("matched, 2-norm", True, hats_2, smoothness.theorem_4_3(equal_2, norms)),
        ("matched, n − i + 1 for n", True, hats, smoothness.theorem_4_3(equal, norms, sharp=True)),
        ("matched, |eigenvalue|", False, hats, smoothness.theorem_4_3(equal, radii)),
        ("same W", name == "linear", hats, smoothness.theorem_4_3(same, norms)),
        ("same W, |eigenvalue|", False, hats, smoothness.theorem_4_3(same, radii)),
    ):
        yield _compare(f"Theorem 4.3, {what}", name, holds, measured, bound)


def _compare(
    statement: str, setting: str, holds: bool, measured: Tensor, bound: Tensor
) -> Comparison:
    left, right = (side.detach().numpy().ravel() for side in (measured, bound))
    return Comparison(statement, setting, holds, left, right, blocks=measured.shape[1])
