"""The base against its variants: is it the fastest, the steadiest, the most accurate?

A base is one cell that a search chose out of many; had it chosen blindly, every place among the
variants would be as likely. So the places of all bases, one for each, decide.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from orchestrator.paper.claims.cells import behind_scores, scores
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.traits import BASE, CONNECTIONS
from orchestrator.paper.statistics.ranks import LEAD, placing

STATISTIC = "exact sum of the bases' places among their variants"


def _leads(column: str, measure: str, rises: bool):
    def test(claim: Claim, population: Population) -> list[Finding]:
        trials: Any = population.at_rate()
        if trials.empty:
            return []
        rows = trials[trials["kind"].isin([BASE, CONNECTIONS])]
        # Ranked in settings that have the base and variants of it.
        rows = rows[rows.groupby(["base", "setting"])["kind"].transform("nunique") == 2]
        cells: Any = scores(rows, column, rises=rises)
        one, rivals, names = [], [], []
        for base, group in cells.groupby("base"):
            mine = group[group["kind"] == BASE]["score"].to_numpy()
            others = group[group["kind"] == CONNECTIONS]["score"].to_numpy(dtype=float)
            if len(mine) == 1 and len(others):
                names.append(base)
                one.append(float(mine[0]))
                rivals.append(others)
        if not one:
            return []
        found = placing(one, rivals)
        places = [1 + int((group > value).sum()) for value, group in zip(one, rivals, strict=True)]
        told = ", ".join(
            f"{name} {place} of {len(group) + 1}"
            for name, place, group in zip(names, places, rivals, strict=True)
        )
        return [
            claim.finding(
                measure,
                STATISTIC,
                "share of variants that the base surpasses",
                found,
                power_at=f"a lead of {LEAD:g} standard deviation",
                cells=len(one) + int(np.sum([len(group) for group in rivals])),
                reading=f"places: {told}",
                **behind_scores(cells, rows),
            )
        ]

    return test


_NEEDS = "a base and connection variants of it, trained (launch experiments/fig9.yaml)"
_PLACES = "places of the bases among their variants in {}, exact, each as likely by chance"

CLAIMS = (
    Claim(
        "base-fastest",
        "Bases converge faster than their variants.",
        "Section 4.1, Figures 3 and 13 to 16",
        _PLACES.format("mean test accuracy over the first 20 % of epochs"),
        _NEEDS,
        "bases",
        _leads("area_20", "mean test accuracy over the first 20 % of epochs", True),
        BOTH_CIFARS,
    ),
    Claim(
        "base-stablest",
        "Bases converge more stably than their variants.",
        "Section 4.1, Figures 3 and 13 to 16",
        _PLACES.format("jitter"),
        _NEEDS,
        "bases",
        _leads("jitter", "mean change of test accuracy between epochs mid-way", False),
        BOTH_CIFARS,
    ),
    Claim(
        "bases-competitive",
        "Bases have test accuracies competitive with those of most of their variants.",
        "Section 5, Figure 9",
        _PLACES.format("final test accuracy") + "; bases that surpass most variants are "
        "competitive, and those that most variants surpass are not. Neither version of the paper "
        "says that bases generalise better",
        _NEEDS,
        "bases",
        _leads("final", "test accuracy after the last epoch", True),
        CIFAR10,
    ),
)
