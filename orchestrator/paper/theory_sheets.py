"""What `nas-sweep theory` found, as tables to read and as records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from orchestrator.output.sheet import Sheet
from orchestrator.paper.theory_trials import TrialBound
from workers.theory.checks import Comparison
from workers.theory.smoothness import Counterexample

MUST, MAY = "must hold", "need not"


def comparison_record(one: Comparison) -> dict[str, Any]:
    """A comparison as plain data."""
    return {
        "statement": one.statement,
        "setting": one.setting,
        "must_hold": one.holds,
        "cases": len(one.measured),
        "violations": int(one.violated.sum()),
        "median_ratio": float(np.median(one.ratios)),
        "largest_ratio": float(one.ratios.max()),
    }


def statements_sheet(comparisons: Sequence[Comparison], title: str) -> Sheet:
    """A row for each statement and setting; a violation of what must hold is marked."""
    rows, marks = [], {}
    for number, one in enumerate(comparisons):
        record = comparison_record(one)
        equation = one.statement.startswith("Equation")
        # An equation's bound is the tolerance, so that its error tells more than the ratio.
        numbers = one.measured if equation else one.ratios
        rows.append(
            (
                one.statement,
                one.setting,
                MUST if one.holds else MAY,
                f"{record['cases']:,}",
                f"{record['violations']:,}",
                f"{np.median(numbers):.2g}",
                f"{numbers.max():.2g}",
            )
        )
        if one.holds and record["violations"]:
            marks[number, 4] = 1
    return Sheet(
        title=title,
        columns=("statement", "objective", "", "cases", "violated", "median", "largest"),
        rows=rows,
        marks=marks,
        notes=("a statement that must hold is violated",) if marks else (),
        words=(1, 2),
        remarks=("median and largest: relative error of an equation, measured/bound of a theorem",),
    )


def blocks_sheet(comparisons: Iterable[Comparison], example: Counterexample) -> Sheet:
    """Theorem 4.2 by block, as printed and corrected."""
    rows = []
    for one in comparisons:
        for block in sorted(set(one.block.tolist())):
            part = one.of_block(block)
            rows.append(
                (
                    one.statement.partition(", ")[2],
                    one.setting,
                    str(block),
                    f"{100 * part.violated.mean():.1f} %",
                    f"{np.median(part.ratios):.3g}",
                    f"{part.ratios.max():.3g}",
                )
            )
    return Sheet(
        title="Theorem 4.2 by block: the block's true constant over its bound",
        columns=("bound", "objective", "block", "violated", "median", "largest"),
        rows=rows,
        words=(1,),
        remarks=(
            f"counterexample (n = 2, f = ½‖z‖², W1 = diag(2, 1), x = e1): case I has "
            f"L(2) = {example.wide:g}, the printed bound is {example.printed:g}, "
            f"the true constant {example.true:g}",
        ),
    )


def trials_sheet(trials: Sequence[TrialBound]) -> Sheet:
    """Theorem 4.1 by trial."""
    rows, marks = [], {}
    for number, one in enumerate(trials):
        rows.append(
            (
                one.trial_id,
                one.variant,
                _number(one.smoothness),
                _number(one.variance),
                _number(one.f0),
                _number(one.rates),
                _number(one.start),
                _number(one.noise),
                _number(one.bound),
                _share(one.within),
                _share(one.within_momentum),
                _number(one.measured),
                _number(one.final),
            )
        )
        if one.within < 1:
            marks[number, 9] = 1
        if one.within_momentum < 1:
            marks[number, 10] = 1
    lacking = [f"{one.trial_id} lacks {', '.join(one.lacking)}" for one in trials if one.lacking]
    return Sheet(
        title="Theorem 4.1 by trial, from its measured checkpoints",
        columns=(
            "trial", "variant", "L", "σ²", "f(w0)", "H", "start", "noise", "bound",
            "γ<1/L", "γ/(1−m)<1/L", "E‖g‖²", "‖∇f‖² at end",
        ),
        rows=rows,
        words=(1,),
        marks=marks,
        notes=("the premise fails: a rate is not below 1/L, so the bound says nothing here",)
        if marks
        else (),
        remarks=(
            "L is local, the largest magnitude of an eigenvalue at the measured checkpoints; so is "
            "σ², of a batch. The theorem asks for bounds along the whole way, for plain SGD "
            "without momentum m, and for unclipped steps. f* is taken for 0.",
            *lacking,
        ),
    )  # fmt: skip


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3g}"


def _share(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:.0f} %"
