"""Wider and shallower cells converge more steadily (Sections 4.1 and B.2)."""

from __future__ import annotations

from orchestrator.paper.claims.claim import BOTH_CIFARS, Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.width_trend import JONCKHEERE, PARTIAL, SPEARMAN, trend


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


CLAIMS = tuple(
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
