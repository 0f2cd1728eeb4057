"""What rises with a cell's width or falls with its depth, tested over the connection variants.

The base is left out: searches chose it for its accuracy, so that it would tell of the choice.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.paper.claims.cells import behind, behind_scores, scores
from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.traits import CONNECTIONS
from orchestrator.paper.statistics.correlation import association
from orchestrator.paper.statistics.outcome import Outcome
from orchestrator.paper.statistics.partial import partial_association
from orchestrator.paper.statistics.studies import RHO
from orchestrator.paper.statistics.trend import jonckheere

SPEARMAN = "Spearman's correlation, permuted within bases"
JONCKHEERE = "Jonckheere and Terpstra's trend, permuted within bases"
PARTIAL = "partial Spearman's correlation, permuted within bases"
COVARIATES = ("live_parameters", "skips", "inputs")


def trend(
    claim: Claim,
    trials: pd.DataFrame,
    column: str,
    measure: str,
    *,
    rises: bool,
    trait: str = "width",
    how: str = SPEARMAN,
    primary: bool = True,
    behind_it: pd.DataFrame | None = None,
) -> list[Finding]:
    """Whether cells do better in a measure the wider, or the shallower, they are.

    Args:
        claim: What is tested.
        trials: Rows of `Population.trials`.
        column: The measure's.
        measure: Its name.
        rises: Whether more of it is better.
        trait: "width", of which more, or "depth", of which less should be better.
        how: One of the three statistics.
        primary: As in `Finding`.
        behind_it: The trials behind the measure; None for those of the compared cells.

    Returns:
        The finding; none without two variants of different trait and score in some base.
    """
    if trials.empty:
        return []
    rows: Any = trials[trials["kind"] == CONNECTIONS]
    cells: Any = scores(rows, column, rises=rises)
    x = cells[trait].to_numpy(dtype=float) * (1 if trait == "width" else -1)
    y, strata = cells["score"].to_numpy(dtype=float), cells["base"].to_numpy(dtype=str)
    found = _test(how, x, y, strata, cells)
    if not np.isfinite(found.value):
        return []
    wanted = "width" if trait == "width" else "shallowness"
    effect = {
        SPEARMAN: f"ρ with {wanted}",
        JONCKHEERE: f"Somers' D over levels of {wanted}",
        PARTIAL: f"partial ρ with {wanted}",
    }[how]
    return [
        claim.finding(
            measure,
            how,
            effect,
            found,
            power_at=f"partial ρ = {RHO}" if how == PARTIAL else f"ρ = {RHO}",
            cells=found.n,
            primary=primary,
            **behind_scores(cells, rows[rows[column].notna()])
            if behind_it is None
            else behind(behind_it),
        )
    ]


def _test(
    how: str, x: np.ndarray, y: np.ndarray, strata: np.ndarray, cells: pd.DataFrame
) -> Outcome:
    if how == JONCKHEERE:
        return jonckheere(x, y, strata)
    if how == PARTIAL:
        others = cells[list(COVARIATES)].to_numpy(dtype=float)
        return partial_association(x, y, others[:, ~np.isnan(others).all(axis=0)], strata)
    return association(x, y, strata)
