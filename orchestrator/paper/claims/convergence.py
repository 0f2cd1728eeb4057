"""Wider and shallower cells converge faster and more stably (Sections 4.1 and B.2)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import worst
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Finding
from orchestrator.paper.claims.population import BASE, CONNECTIONS, Population
from orchestrator.paper.claims.scores import behind, behind_scores, scores
from orchestrator.paper.statistics.association import association, jonckheere, partial_association
from orchestrator.paper.statistics.testing import RHO, Outcome

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


_MEASURES = (
    ("area_20", "mean test accuracy over the first 20 % of epochs", True),
    ("area_10", "mean test accuracy over the first 10 % of epochs", True),
    ("epochs_50", "epochs to 50 % of the base's final accuracy", False),
    ("epochs_90", "epochs to 90 % of the base's final accuracy", False),
    ("epochs_95", "epochs to 95 % of the base's final accuracy", False),
)


def _wider(claim: Claim, population: Population) -> list[Finding]:
    return _trends(claim, population, "width")


def _shallower(claim: Claim, population: Population) -> list[Finding]:
    return _trends(claim, population, "depth")


def _trends(claim: Claim, population: Population, trait: str) -> list[Finding]:
    trials = population.at_rate()
    found = []
    for column, measure, rises in _MEASURES:
        primary = column == "area_20"
        for how in (SPEARMAN, JONCKHEERE, PARTIAL) if primary else (SPEARMAN,):
            found += trend(
                claim,
                trials,
                column,
                measure,
                rises=rises,
                trait=trait,
                how=how,
                primary=primary and how == SPEARMAN,
            )
    return found


_STATISTIC = (
    "Spearman's correlation of {} with accuracy over the first 20 % of epochs; beside it that "
    "over 10 %, epochs to 50, 90 and 95 % of the base's final accuracy, Jonckheere's trend, and "
    "the correlation freed of live parameters, skip connections and used inputs"
)
_NEEDS = "connection variants of a base, trained (launch experiments/fig9.yaml)"

_FASTER = (
    Claim(
        "wider-faster",
        "Wider cells converge faster.",
        "Section 4.1, Figures 3 and 13 to 16",
        _STATISTIC.format("width"),
        _NEEDS,
        "convergence",
        _wider,
        BOTH_CIFARS,
    ),
    Claim(
        "shallower-faster",
        "Shallower cells converge faster.",
        "Section 4.1, Figures 3 and 13 to 16",
        _STATISTIC.format("shallowness"),
        _NEEDS,
        "convergence",
        _shallower,
        BOTH_CIFARS,
    ),
)


def _steadier(trait: str):
    def test(claim: Claim, population: Population) -> list[Finding]:
        return [
            finding
            for how in (SPEARMAN, JONCKHEERE, PARTIAL)
            for finding in trend(
                claim,
                population.at_rate(),
                "jitter",
                "mean change of test accuracy between epochs in the middle of training",
                rises=False,
                trait=trait,
                how=how,
                primary=how == SPEARMAN,
            )
        ]

    return test


_STABLER = tuple(
    Claim(
        f"{word}-stabler",
        f"{word.capitalize()} cells converge more stably.",
        "Section 4.1, Figures 3 and 13 to 16",
        f"Spearman's correlation of {name} with the jitter: the mean magnitude of the change of "
        "test accuracy over epochs 100 to 300 of 600, or that share of a shorter training",
        "connection variants of a base, trained (launch experiments/fig9.yaml)",
        "convergence",
        _steadier(trait),
        BOTH_CIFARS,
    )
    for word, name, trait in (("wider", "width", "width"), ("shallower", "shallowness", "depth"))
)


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
    own_curves = curves.reindex(rows["trial_id"]).to_numpy(dtype=float)
    if not len(own):
        return rows.assign(distance=math.nan)
    apart = pd.DataFrame(np.abs(own_curves - own.mean(axis=0))).mean(axis=1).to_numpy()
    return rows.assign(distance=np.where(rows["status"] == "diverged", worst(rises=False), apart))


_APPROACH = (
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

CLAIMS = (*_FASTER, *_STABLER, *_APPROACH)
