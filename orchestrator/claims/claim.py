"""A claim: a statement of the paper with its test."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.claims.finding import NO_DATA, Finding
from orchestrator.claims.population import Population
from orchestrator.claims.statistics.outcome import Outcome


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
    """

    id: str
    statement: str
    source: str
    statistic: str
    needs: str
    family: str
    test: Callable[[Claim, Population], Sequence[Finding]]

    def findings(self, population: Population) -> list[Finding]:
        """What the store says; one finding without numbers if it says nothing."""
        return list(self.test(self, population)) or [self.no_data()]

    def finding(
        self,
        measure: str,
        statistic: str,
        effect: str,
        outcome: Outcome | None = None,
        **fields: Any,
    ) -> Finding:
        """A finding about this claim, with the numbers of a test and further fields by name."""
        numbers = outcome.numbers() if outcome else {}
        return Finding(
            self.id,
            self.statement,
            self.source,
            measure,
            statistic,
            effect,
            family=self.family,
            **numbers | fields,
        )

    def no_data(self) -> Finding:
        """That nothing can be said."""
        return self.finding("", self.statistic, "", verdict=NO_DATA, reading=f"needs {self.needs}")
