"""A claim: a statement of the paper with its test."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.figures import evidence
from orchestrator.paper.claims.finding import FAILED, NO_DATA, Finding
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.outcome import Outcome

CIFAR10, CIFAR100, TINY_IMAGENET = ("cifar10",), ("cifar100",), ("tiny_imagenet",)
BOTH_CIFARS = CIFAR10 + CIFAR100
"""Datasets that the paper's statements are about."""


@dataclass(frozen=True)
class Claim:
    """One of the paper's statements.

    Attributes:
        id: As the command line names it.
        statement: What the paper says.
        source: Where it says so; E is the paper's earlier version.
        statistic: What decides it, in words.
        needs: What a store must hold, and what would provide it.
        family: Claims whose p-values are corrected together.
        test: Its findings; none if the store lacks what it needs.
        datasets: Those that the statement is about; empty if it is about cells alone.
        recipe: Name of the recipe (`recipes.RECIPES`) that the paper trained with.
    """

    id: str
    statement: str
    source: str
    statistic: str
    needs: str
    family: str
    test: Callable[[Claim, Population], Sequence[Finding]]
    datasets: tuple[str, ...] = ()
    recipe: str = "section4"

    def findings(self, population: Population) -> list[Finding]:
        """Return what the store says; one finding without numbers if it says nothing.

        Trials that no finding may combine (`evidence.scopes`) are tested apart.
        """
        parts = population.scopes(self.datasets) if self.datasets else [population]
        return [one for part in parts for one in self.test(self, part)] or [self.no_data()]

    def finding(
        self,
        measure: str,
        statistic: str,
        effect: str,
        outcome: Outcome | None = None,
        *,
        shares: Mapping[str, float] | None = None,
        rates: Iterable[float] = (),
        **fields: Any,
    ) -> Finding:
        """Return a finding about this claim.

        Args:
            measure: As in `Finding`.
            statistic: As in `Finding`.
            effect: As in `Finding`.
            outcome: The numbers of the test.
            shares: Weight of each setting that it combines (`evidence.weights`); None if it is
                about no trial.
            rates: Learning rates of the trials.
            fields: Further fields of `Finding`.
        """
        numbers = outcome.numbers() if outcome else {}
        if shares:
            numbers |= {
                "datasets": tuple(evidence.read_setting(key).dataset for key in shares),
                "weights": tuple(shares.values()),
                "data": evidence.name_data(shares),
                "departures": evidence.name_departures(shares, self.recipe, rates),
                "substitute": evidence.is_substitute(shares, self.datasets),
            }
        return Finding(
            self.id,
            self.statement,
            self.source,
            measure,
            statistic,
            effect,
            family=self.family,
            paper_datasets=self.datasets,
            **numbers | fields,
        )

    def failed(self, error: str) -> Finding:
        """Return the finding of a test that ended in an unexpected error."""
        return self.finding("", self.statistic, "", verdict=FAILED, reading=error)

    def no_data(self) -> Finding:
        """That nothing can be said."""
        return self.finding("", self.statistic, "", verdict=NO_DATA, reading=f"needs {self.needs}")
