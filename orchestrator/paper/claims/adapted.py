"""Adapted cells: better on CIFAR-100, worse on CIFAR-10 and Tiny-ImageNet (Section 5, Table 1)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import AS_ZERO, counted_accuracies
from orchestrator.paper.claims.cells import behind
from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.traits import ADAPTED, BASE
from orchestrator.paper.statistics.means import LARGE, flipped, paired
from orchestrator.paper.statistics.proportion import OFTEN, share

_ENDING = "_ADAPT"


def _compare(dataset: str, sign: int):
    """Whether adapted cells have the lower (sign 1) or the higher (−1) error on a data set."""

    def test(claim: Claim, population: Population) -> list[Finding]:
        rows: Any = population.trials
        if rows.empty:
            return []
        # Whatever stands in for this dataset is of a scope of its own.
        rows = rows[(rows["named_dataset"] == dataset) & rows["kind"].isin([BASE, ADAPTED])]
        pairs = _pairs(rows)
        if pairs.empty:
            return []
        pairs["gain"] = sign * pairs["gain"]
        used = rows[rows["trial_id"].isin({*pairs["trial_id"], *pairs["trial_id_adapted"]})]
        told = {"cells": 2 * pairs["base"].nunique(), "diverged_as": AS_ZERO, **behind(used)}
        means: Any = pairs.groupby("base")["gain"].mean()
        each = ", ".join(f"{base} {value:+.2f}" for base, value in means.items())
        found = paired(means.to_numpy(dtype=float))
        exact = flipped(means.to_numpy(dtype=float))
        seeds = flipped(pairs["gain"].to_numpy(dtype=float))
        better = share(int((means > 0).sum()), len(means))
        wanted = "reduction" if sign > 0 else "increase"
        effect = f"mean {wanted} of the error, in points"
        at = f"a mean of {LARGE:g} standard deviation"
        return [
            claim.finding(
                "error of the adapted cells, by architecture",
                "paired t over architectures, seeds averaged",
                effect,
                found,
                power_at=at,
                reading=f"{each} points",
                **told,
            ),
            claim.finding(
                "error of the adapted cells, by architecture",
                "signs flipped, exact",
                effect,
                exact,
                power_at=at,
                primary=False,
                **told,
            ),
            claim.finding(
                "error of the adapted cells, by architecture and seed",
                "signs flipped for each seed",
                effect,
                seeds,
                power_at=at,
                primary=False,
                reading="seeds of one architecture taken as independent",
                **told,
            ),
            claim.finding(
                "architectures whose error moves as claimed",
                "sign test",
                "share",
                better,
                power_at=f"a share of {OFTEN:.0%}",
                primary=False,
                **told,
            ),
        ]

    return test


def _pairs(rows: Any) -> pd.DataFrame:
    """Original and adapted trials of one setting, rate and seed; the gain is in points of error.

    Accuracies are as they count (`evidence.counted_accuracy`); trials without one are left out.
    """
    keys = ["base", "setting", "learning_rate", "seed"]
    rows = rows.assign(accuracy=counted_accuracies(rows)).dropna(subset=["accuracy"])
    rows = rows[[*keys, "kind", "trial_id", "accuracy"]]
    original = rows[rows["kind"] == BASE]
    adapted = rows[rows["kind"] == ADAPTED]
    adapted = adapted.assign(base=adapted["base"].str.removesuffix(_ENDING))
    pairs = original.merge(adapted, on=keys, suffixes=("", "_adapted"))
    return pairs.assign(gain=100 * np.subtract(pairs["accuracy_adapted"], pairs["accuracy"]))


CLAIMS = tuple(
    Claim(
        f"adapted-{word}-{dataset.replace('_', '-')}",
        f"Adapted cells have {more} error on {name}.",
        "Section 5, Table 1",
        "mean paired difference over architectures, seeds averaged, by Student's t, which is that "
        "of a mixed model; beside it by flipping signs (with five architectures p is 0.031 at "
        "best), over seeds too, and the sign test",
        f"original and adapted cells on {dataset} (launch experiments/table1.yaml)",
        "adapted",
        _compare(dataset, sign),
        (dataset,),
        "table1",
    )
    for dataset, name, word, more, sign in (
        ("cifar100", "CIFAR-100", "better", "a lower", 1),
        ("cifar10", "CIFAR-10", "worse", "mostly a higher", -1),
        ("tiny_imagenet", "Tiny-ImageNet", "worse", "mostly a higher", -1),
    )
)
