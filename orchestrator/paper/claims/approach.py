"""Variants approach their base as they widen (Section B.2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import worst
from orchestrator.paper.claims.claim import CIFAR10, Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.traits import BASE, CONNECTIONS
from orchestrator.paper.claims.width_trend import JONCKHEERE, SPEARMAN, trend

_MEASURE = "mean distance of the test accuracy from the base's, over all epochs"


def _approach(claim: Claim, population: Population) -> list[Finding]:
    trials: Any = population.at_rate()
    if trials.empty:
        return []
    rows = trials[trials["kind"].isin([BASE, CONNECTIONS])]
    if rows.empty:
        return []
    curves: Any = population.curves.pivot(index="trial_id", columns="epoch", values="test_accuracy")
    rows = pd.concat([_distances(part, curves) for _, part in rows.groupby(["base", "setting"])])
    return [
        finding
        for how in (SPEARMAN, JONCKHEERE)
        for finding in trend(
            claim, rows, "distance", _MEASURE, rises=False, how=how, primary=how == SPEARMAN
        )
    ]


def _distances(rows: Any, curves: Any) -> pd.DataFrame:
    """The trials of one base in one setting, with how far each is from the base's mean curve."""
    bases = rows[(rows["kind"] == BASE) & (rows["status"] == "done")]["trial_id"]
    own = curves.reindex(bases).to_numpy(dtype=float)
    told = curves.reindex(rows["trial_id"]).to_numpy(dtype=float)
    if not len(own):
        return rows.assign(distance=math.nan)
    apart = pd.DataFrame(np.abs(told - own.mean(axis=0))).mean(axis=1).to_numpy()
    return rows.assign(distance=np.where(rows["status"] == "diverged", worst(rises=False), apart))


CLAIMS = (
    Claim(
        "variants-approach-base",
        "Variants approach the base as they widen.",
        "Section B.2, Figures 13 to 16",
        "Spearman's correlation of width with the mean distance between a variant's and its "
        "base's curve of test accuracy; beside it Jonckheere's trend",
        "a base and connection variants of it, trained (launch experiments/fig9.yaml)",
        "convergence",
        _approach,
        CIFAR10,
    ),
)
