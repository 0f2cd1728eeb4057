"""How many bytes of the store a plan will take: a bound, near enough to tell whether it fits."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.plan import Plan
from results_schema.trial import TrialSpec
from workers.cells.cost import count_on

PARAMETER = 8.3
"""Bytes of a checkpoint for each parameter: its weight and momentum, and a share of the running
statistics of batch normalisation; measured, like the next, as a bound over bases and sizes."""
CELL = 15_000
"""Bytes of a checkpoint for each cell: its tensors' names and shapes."""
STATE_ROW, ROW, TRIAL, POINT = 450, 250, 30_000, 200
"""Bytes of an epoch in each checkpoint, of an epoch in metrics and log, of a trial's row with the
folders' entries, and of a surface's point."""
IN_HAND = 2
"""Checkpoints that a running trial has beside the one it ends with: the last, and one in making."""


def checkpoint(spec: TrialSpec) -> int:
    """Bytes of a trial's last checkpoint."""
    size, head = spec.network, spec.recipe.auxiliary > 0
    parameters = count_on(spec.genotype, size, spec.dataset, auxiliary=head).parameters
    return int(PARAMETER * parameters) + CELL * size.cells + STATE_ROW * spec.recipe.epochs


def needed(plan: Plan, *, kept: Collection[int], side_by_side: int) -> int:
    """Bytes that what is owed will take at most.

    Args:
        plan: What is owed.
        kept: Epochs whose checkpoints stay, besides those that surfaces look at.
        side_by_side: Trials that run at once.
    """
    kept = {*kept, *plan.looked_at}
    sizes = [checkpoint(spec) for spec in plan.owed]
    stay = sum(
        size * (1 + sum(epoch < spec.recipe.epochs for epoch in kept))
        for size, spec in zip(sizes, plan.owed, strict=True)
    )
    rows = ROW * plan.epochs + TRIAL * len(plan.owed) + POINT * plan.points
    return stay + rows + IN_HAND * sum(sorted(sizes)[-side_by_side:])
