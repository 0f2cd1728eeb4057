"""Trials of one cell as one value: seeds and settings are averaged, so that each cell counts once.

Within each base, setting and rate all trials are ranked, worst to best, and a cell's score is the
mean of its trials' ranks. So data sets of different difficulty weigh alike, infinities have a rank,
and the same cell on two data sets is one cell, not two.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from orchestrator.figures.evidence import weights
from orchestrator.paper.claims.population import CELL

GROUP = ["base", "setting", "learning_rate"]
"""Trials that are ranked among each other."""

_TRAITS = ("width", "depth", "live_parameters", "skips", "inputs")


def scores(trials: pd.DataFrame, column: str, *, rises: bool = True) -> pd.DataFrame:
    """The score of each cell in one measure.

    Args:
        trials: Rows of `Population.trials`, or others with its columns.
        column: The measure; rows where it is NaN are left out.
        rises: Whether more of it is better.

    Returns:
        A row for each base and variant: score (0 to 1, more is better), kind, traits, trials,
        diverged, groups.
    """
    rows: Any = trials[trials[column].notna()].copy()
    if rows.empty:
        return pd.DataFrame(columns=[*CELL, "score", "kind", *_TRAITS, "ids", "diverged"])
    signed = rows[column] if rises else -rows[column]
    rows["score"] = signed.groupby([rows[key] for key in GROUP]).transform(_normal_ranks)
    rows["lost"] = rows["trial_id"].where(rows["status"] == "diverged")
    have = [trait for trait in _TRAITS if trait in rows.columns]
    cells = rows.groupby(CELL, sort=True).agg(
        score=("score", "mean"),
        kind=("kind", "first"),
        ids=("trial_id", frozenset),
        diverged=("lost", "nunique"),
        **{trait: (trait, "first") for trait in have},
    )
    return cells.reset_index()


def averages(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The mean of each cell in each setting and rate.

    Returns:
        A row for each base, variant, setting and rate, with `value`, kind, width and ids.
    """
    rows: Any = trials[trials[column].notna()]
    rows = rows.drop_duplicates(["trial_id", *CELL])
    found = rows.groupby([*GROUP, "variant"], sort=True).agg(
        value=(column, "mean"),
        kind=("kind", "first"),
        width=("width", "first"),
        ids=("trial_id", frozenset),
    )
    return found.reset_index()


def count_ids(frame: pd.DataFrame) -> int:
    """How many distinct trials are behind cells."""
    return len(frozenset().union(*frame["ids"])) if len(frame) else 0


def behind(
    trials: pd.DataFrame, *, each: Sequence[str] = ("trial_id",), within: Sequence[str] = CELL
) -> dict[str, Any]:
    """Return the trials behind a finding, as arguments of `Claim.finding`.

    Args:
        trials: Rows of `Population.trials`.
        each: What is averaged, as in `evidence.weights`.
        within: By what it is averaged first; by default the values of a cell are.
    """
    lost: Any = trials.drop_duplicates("trial_id")["status"] == "diverged"
    return {
        "trials": trials["trial_id"].nunique(),
        "diverged": int(lost.sum()),
        "groups": _groups(trials),
        "shares": weights(trials, each, within),
        "rates": trials["learning_rate"].unique().tolist(),
    }


def behind_scores(cells: Any, trials: pd.DataFrame) -> dict[str, Any]:
    """Return the same of cells that `scores` made of trials."""
    ids: frozenset[str] = frozenset().union(*cells["ids"])
    used: Any = trials[trials["trial_id"].isin(list(ids))]
    return behind(used) | {"trials": len(ids), "diverged": int(cells["diverged"].sum())}


def _groups(trials: pd.DataFrame) -> tuple[str, ...]:
    """Bases and the datasets trained on, as "DARTS cifar10"."""
    pairs: Any = trials[["base", "dataset"]].drop_duplicates()
    return tuple(sorted(f"{base} {dataset}" for base, dataset in pairs.to_numpy()))


def _normal_ranks(values: pd.Series) -> np.ndarray:
    ranks = stats.rankdata(values.to_numpy(dtype=float))
    return (ranks - 0.5) / len(ranks) if len(ranks) else np.full(0, math.nan)
