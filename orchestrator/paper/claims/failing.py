"""Training that fails: it diverges, or ends below half of what the base usually reaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.paper.claims.population import STANDARD_RATE, Population
from orchestrator.paper.claims.traits import BASE

HIGH_RATE, LOW_RATE = 0.25, 0.0025
"""The two other rates of Figure 4."""

SHARE = 0.5
"""Of the base's final accuracy at the usual rate; below it a trial has failed."""


def with_failures(population: Population, rate: float) -> pd.DataFrame:
    """The trials at a rate, with a column `failed`.

    Where the base was not trained at the usual rate, its best final accuracy at any rate counts. A
    trial that ended, without such a base to be held against, is left out.
    """
    rows: Any = population.at_rate(rate)
    if rows.empty:
        return rows.assign(failed=[])
    trials: Any = population.trials
    bases = trials[(trials["kind"] == BASE) & (trials["status"] == "done")]
    usual = bases[np.isclose(bases["learning_rate"], STANDARD_RATE)]
    keys = ["base", "setting"]
    means = usual.groupby(keys)["test_accuracy"].mean()
    best = bases.groupby(keys)["test_accuracy"].max()
    reference = means.combine_first(best).rename("reference").reset_index()
    rows = rows.merge(reference, on=keys, how="left")
    low = rows["test_accuracy"] < SHARE * rows["reference"]
    lost = rows["status"] == "diverged"
    known = lost | (rows["test_accuracy"] - rows["reference"]).notna()
    return rows.assign(failed=lost | low)[known]
