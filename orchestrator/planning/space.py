"""How many bytes of the store a plan will take: a bound, near enough to tell whether it fits."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.planning.plan import Plan
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
VECTORS = 16
"""Bytes that a curvature keeps for each parameter while it is measured: two numbers."""
IN_HAND = 2
"""Checkpoints that a running trial has beside the one it ends with: the last, and one in making."""


def checkpoint(spec: TrialSpec) -> int:
    """Bytes of a trial's last checkpoint."""
    own = CELL * spec.network.cells + STATE_ROW * spec.recipe.epochs
    return int(PARAMETER * _parameters(spec)) + own


def needed(plan: Plan, *, kept: Collection[int], side_by_side: int) -> int:
    """Bytes that what is owed will take at most.

    Args:
        plan: What is owed.
        kept: Epochs whose checkpoints stay, besides those that surfaces look at.
        side_by_side: Trials or surfaces that run at once.
    """
    kept = {*kept, *plan.looked_at}
    sizes = [checkpoint(spec) for spec in plan.owed]
    stay = sum(
        size * (1 + sum(epoch < spec.recipe.epochs for epoch in kept))
        for size, spec in zip(sizes, plan.owed, strict=True)
    )
    rows = ROW * plan.epochs + TRIAL * len(plan.owed) + POINT * plan.points
    curved = [VECTORS * _parameters(s.trial) for s in plan.unmeasured if s.kind == "curvature"]
    running = IN_HAND * sum(sorted(sizes)[-side_by_side:]) + sum(sorted(curved)[-side_by_side:])
    return stay + rows + running


def _parameters(spec: TrialSpec) -> int:
    head = spec.recipe.auxiliary > 0
    return count_on(spec.genotype, spec.network, spec.dataset, auxiliary=head).parameters
