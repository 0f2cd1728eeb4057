"""Sections 4.3 and C checked on drawn cells: equations (1) to (4), Theorems 4.2 and 4.3."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor

from workers.draws import derive
from workers.theory.cells import Cells, draw_cells, matched, narrow, wide
from workers.theory.comparison import Comparison, join
from workers.theory.gradients import (
    at_outputs,
    by_autograd,
    equation_1,
    equation_2,
    equation_3,
    equation_4,
    factors,
    relative_error,
)
from workers.theory.objectives import OBJECTIVES, SMOOTH, CrossEntropy, Objective, Quadratic
from workers.theory.smoothness import block_smoothness
from workers.theory.variance import (
    Norm,
    block_variances,
    spectral_norms,
    spectral_radii,
    theorem_4_3,
)

EXACT = 1e-10
"""Relative error up to which two float64 gradients count as equal."""

AT_ONCE = 200
"""Cells that are computed side by side."""

FEW = 16
"""Instances of the population where the 2-norm is taken, which costs an SVD for each."""


@dataclass(frozen=True)
class Settings:
    """What is drawn.

    Attributes:
        draws: Cells for each objective and gain.
        seed: Of all draws.
        nodes: n, intermediate nodes of a cell.
        width: d, of a node.
        batch: B, inputs that stand for the data.
        gains: Of the weights: with standard deviation gain/√d.
    """

    draws: int = 350
    seed: int = 0
    nodes: int = 5
    width: int = 8
    batch: int = 256
    gains: tuple[float, ...] = (0.5, 1.0, 1.5)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Matrices this small keep several threads waiting for one another, most where others work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@_one_thread()
def check_cells(settings: Settings) -> list[Comparison]:
    """Every statement under every objective, the gains joined.

    Returns:
        In the order of the paper: equations, Theorem 4.2, Theorem 4.3.
    """
    found: dict[tuple[str, str], list[Comparison]] = {}
    for name, gain, part in product(OBJECTIVES, settings.gains, _parts(settings.draws)):
        number, draws = part
        seed = derive(settings.seed, "theory", name, gain, number)
        generator = torch.Generator().manual_seed(seed)
        shape = (settings.nodes, settings.width)
        cells = draw_cells(draws, settings.batch, *shape, gain=gain, generator=generator)
        objective = OBJECTIVES[name](draws, settings.batch, *shape, generator)
        for one in _check(name, objective, cells):
            found.setdefault((one.statement, one.setting), []).append(one)
    joined = [join(parts) for parts in found.values()]
    order = list(dict.fromkeys(one.statement for one in joined))
    return sorted(
        joined, key=lambda one: (one.statement.partition(", ")[0], order.index(one.statement))
    )


def _parts(draws: int) -> Iterator[tuple[int, int]]:
    """Draws that are computed at once, numbered, so that memory does not grow with their number."""
    for number, start in enumerate(range(0, draws, AT_ONCE)):
        yield number, min(AT_ONCE, draws - start)


def _check(name: str, objective: Objective, cells: Cells) -> Iterator[Comparison]:
    weights, inputs = cells
    equal = matched(weights)
    at_wide = by_autograd(objective, wide, weights, inputs)
    at_narrow = by_autograd(objective, narrow, weights, inputs)
    slopes = at_outputs(objective, wide(weights, inputs))
    slopes_narrow = at_outputs(objective, narrow(weights, inputs))
    at_equal = by_autograd(objective, wide, equal, inputs)
    for statement, holds, gradient, truth in (
        ("(1), wide cell", True, equation_1(slopes, inputs), at_wide),
        ("(2), narrow cell", True, equation_2(weights, slopes_narrow, inputs), at_narrow),
        ("(3), narrow cell", True, equation_3(weights, slopes_narrow, inputs), at_narrow),
        ("(4), matched weights", True, equation_4(weights, at_equal), at_narrow),
        ("(4), same W", name == "linear", equation_4(weights, at_wide), at_narrow),
    ):
        error = relative_error(gradient, truth)
        text = f"Equation {statement}"
        yield _compare(text, name, holds, error, torch.full_like(error, EXACT))
    norms = spectral_norms(weights)
    if name in SMOOTH:
        assert isinstance(objective, Quadratic | CrossEntropy)
        blocks = block_smoothness(objective, cells, norms)
        yield _compare("Theorem 4.2, as printed", name, False, blocks.true, blocks.printed)
        yield _compare("Theorem 4.2, corrected", name, True, blocks.true, blocks.corrected)
    yield from _variances(name, weights, inputs, slopes, slopes_narrow, norms)


def _variances(
    name: str, weights: Tensor, inputs: Tensor, slopes: Tensor, slopes_narrow: Tensor, norms: Tensor
) -> Iterator[Comparison]:
    """Theorem 4.3 at matched weights, where both cells have one output, and at the same W."""
    left, right = factors(weights, slopes_narrow, inputs)
    read = inputs[:, :, None].expand_as(slopes)

    def sides(at: Tensor, norm: Norm = "fro") -> tuple[Tensor, Tensor]:
        """The narrow cell's variances and the wide one's."""
        few = slice(None) if norm == "fro" else slice(FEW)
        hats = block_variances(left[:, few], right[:, few], norm)
        return hats, block_variances(at[:, few], read[:, few], norm)

    radii = spectral_radii(weights)
    hats, equal = sides(slopes_narrow)
    hats_2, equal_2 = sides(slopes_narrow, 2)
    _, same = sides(slopes)
    for what, holds, measured, bound in (
        ("matched weights", True, hats, theorem_4_3(equal, norms)),
        ("matched, 2-norm", True, hats_2, theorem_4_3(equal_2, norms)),
        ("matched, n − i + 1 for n", True, hats, theorem_4_3(equal, norms, sharp=True)),
        ("matched, |eigenvalue|", False, hats, theorem_4_3(equal, radii)),
        ("same W", name == "linear", hats, theorem_4_3(same, norms)),
        ("same W, |eigenvalue|", False, hats, theorem_4_3(same, radii)),
    ):
        yield _compare(f"Theorem 4.3, {what}", name, holds, measured, bound)


def _compare(
    statement: str, setting: str, holds: bool, measured: Tensor, bound: Tensor
) -> Comparison:
    block = np.broadcast_to(np.arange(1, measured.shape[1] + 1), tuple(measured.shape))
    left, right = measured.detach().numpy(), bound.detach().numpy()
    return Comparison(statement, setting, holds, left.ravel(), right.ravel(), block.ravel())
