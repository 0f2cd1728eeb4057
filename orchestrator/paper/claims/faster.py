"""Wider and shallower cells converge faster (Sections 4.1 and B.2)."""

from __future__ import annotations

from orchestrator.paper.claims.claim import BOTH_CIFARS, Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.width_trend import JONCKHEERE, PARTIAL, SPEARMAN, trend

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

CLAIMS = (
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
