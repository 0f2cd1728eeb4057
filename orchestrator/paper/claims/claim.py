"""A claim of the paper with its test, and what the test found."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from orchestrator.figures import evidence
from orchestrator.figures.evidence import RANKED_LAST
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.testing import ALPHA, Outcome, holm

SUPPORTED, CONTRADICTED = "supported", "contradicted"
UNDECIDED, NO_DATA = "undecided", "no data"
NOT_A_TEST = "not a test"
"""Measured on a substitute dataset (`orchestrator.figures.evidence`)."""
FAILED = "failed"
"""The test ended in an unexpected error."""
VERDICTS = (SUPPORTED, CONTRADICTED, UNDECIDED, NOT_A_TEST, FAILED, NO_DATA)


@dataclass(frozen=True)
class Finding:
    """One measure of one claim. NaN stands for what cannot be had.

    Attributes:
        claim: The claim's id.
        statement: The statement of the paper.
        source: Section, figure or table.
        measure: What was looked at.
        statistic: The test's name.
        effect: What `size` is; positive where the claim is right.
        size: The effect.
        low: Lower end of its 95 % interval.
        high: Upper end.
        p: One-sided, of the claim being right by chance alone.
        p_against: One-sided, of its opposite.
        p_holm: `p` corrected for the other claims of the family.
        p_against_holm: `p_against`, likewise.
        exact: Whether p is exact and not of random rearrangements.
        power: Chance to find `power_at` with so many cells.
        power_at: The effect that `power` is about.
        cells: Distinct cells that were compared; their seeds and data sets were averaged.
        trials: Distinct trials behind them.
        diverged: How many of those diverged.
        diverged_as: How these are counted (`orchestrator.figures.evidence`).
        groups: Bases and datasets looked at.
        datasets: Those trained on, one for each setting that is combined; empty if the finding is
            about no trial.
        weights: Share of each of `datasets` in the finding.
        data: Both as text, such as "cifar10 61 %, cifar100 39 %".
        departures: What differs from the paper's training, such as "5 cells (not 20)".
        paper_datasets: Those that the paper's claim is about; empty if it is about cells alone.
        substitute: Whether it was measured on another dataset than those: then it bears no verdict.
        family: Claims that are corrected together.
        primary: Whether this is the claim's main measure; others are there to look at and are
            not corrected.
        verdict: One of `VERDICTS`.
        reading: The verdict as a line of text.
    """

    claim: str
    statement: str
    source: str
    measure: str
    statistic: str
    effect: str
    size: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_against: float = math.nan
    p_holm: float = math.nan
    p_against_holm: float = math.nan
    exact: bool = False
    power: float = math.nan
    power_at: str = ""
    cells: int = 0
    trials: int = 0
    diverged: int = 0
    diverged_as: str = RANKED_LAST
    groups: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()
    data: str = ""
    departures: str = ""
    paper_datasets: tuple[str, ...] = ()
    substitute: bool = False
    family: str = ""
    primary: bool = True
    verdict: str = ""
    reading: str = ""

    def record(self) -> dict[str, Any]:
        """As plain data, None for what is not finite."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def settle(found: Sequence[Finding]) -> list[Finding]:
    """Corrects the p-values of each family's main measures and gives the verdicts that lack.

    A claim is supported if its corrected p is at most 0.05, contradicted if that of its opposite
    is, and undecided otherwise. What was measured on substitutes bears no verdict, and is corrected
    apart.
    """
    corrected = list(found)
    for group in {(one.family, one.substitute) for one in found}:
        places = [
            place
            for place, one in enumerate(found)
            if (one.family, one.substitute) == group and one.primary and not math.isnan(one.p)
        ]
        here = holm([found[place].p for place in places])
        against = holm([found[place].p_against for place in places])
        for place, p, q in zip(places, here, against, strict=True):
            corrected[place] = replace(found[place], p_holm=p, p_against_holm=q)
    return [_judge(one) for one in corrected]


def _judge(one: Finding) -> Finding:
    if one.verdict:
        return one
    if one.substitute:
        return replace(one, verdict=NOT_A_TEST, reading=_reading(one, NOT_A_TEST))
    p, q = (one.p_holm, one.p_against_holm) if one.primary else (one.p, one.p_against)
    verdict = SUPPORTED if p <= ALPHA else CONTRADICTED if q <= ALPHA else UNDECIDED
    return replace(one, verdict=verdict, reading=_reading(one, verdict))


def _reading(one: Finding, verdict: str) -> str:
    opening = {
        SUPPORTED: "as claimed",
        CONTRADICTED: "the opposite of the claim",
        UNDECIDED: "no clear sign either way",
        NOT_A_TEST: "as measured",
    }[verdict]
    trained = f" with {one.departures}" if one.departures else ""
    where = f" on {one.data}{trained}" if one.data else ""
    parts = [f"{opening}{where}: {one.effect} {one.size:.3g}"]
    if not math.isnan(one.low):
        parts[0] += f" ({one.low:.3g} to {one.high:.3g})"
    parts.append(f"{one.cells} cells")
    if one.diverged:
        parts.append(f"{one.diverged} of {one.trials} trials diverged, {one.diverged_as}")
    if verdict == UNDECIDED and one.power < 0.8:
        parts.append(f"too few: {one.power_at} would be found in {one.power:.0%} of such studies")
    parts.append(one.reading)
    if verdict == NOT_A_TEST:
        parts.append(f"not a test of the paper's claim about {' and '.join(one.paper_datasets)}")
    return "; ".join(filter(None, parts))


CIFAR10, CIFAR100, TINY_IMAGENET = ("cifar10",), ("cifar100",), ("tiny_imagenet",)
BOTH_CIFARS = CIFAR10 + CIFAR100
"""Datasets that the paper's statements are about."""


@dataclass(frozen=True)
class Claim:
    """One of the paper's statements.

    Attributes:
        id: As the command line names it.
        statement: The statement of the paper.
        source: Section, figure or table; E is the paper's earlier version.
        statistic: What decides it, as text.
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
        """Test the claim on a store; one finding without numbers if it has no data.

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
        """Return the finding that the store lacks what the claim needs."""
        return self.finding("", self.statistic, "", verdict=NO_DATA, reading=f"needs {self.needs}")
