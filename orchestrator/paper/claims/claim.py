"""A claim of the paper, its measures, and what they found in a store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import pandas as pd

from orchestrator.figures import evidence
from orchestrator.figures.evidence import CELL, RANKED_LAST
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.laws import ALPHA, POWER, Finder, Outcome, holm

SUPPORTED, CONTRADICTED = "supported", "contradicted"
NO_EFFECT, INCONCLUSIVE = "no relevant effect", "inconclusive"
NOT_TESTABLE, NO_DATA = "not testable", "no data"
VERDICTS = (SUPPORTED, CONTRADICTED, NO_EFFECT, INCONCLUSIVE, NOT_TESTABLE, NO_DATA)
COUNTED, FAILED = "counted", "failed"
"""Instead of a verdict: a fact about published cells; a test that ended in an unexpected error."""

CIFAR10, CIFAR100, TINY_IMAGENET = ("cifar10",), ("cifar100",), ("tiny_imagenet",)
BOTH_CIFARS = CIFAR10 + CIFAR100
"""Datasets that the paper's statements are about."""

Scale = Literal["correlation", "share", "odds", "ratio", "points", "number"]
"""What an effect is measured in; points are of accuracy or error, in percent."""

Grows = Literal["variants", "seeds", "bases"]
"""What the observations of a test are of: variants of bases, runs of named cells, or bases."""


@dataclass(frozen=True)
class Sample:
    """What a measure observed.

    Attributes:
        outcome: The test.
        cells: Distinct cells that were compared.
        trials: Trials behind it, rows of `Population.trials`; None if it is about cells alone.
        note: What the numbers do not show.
        diverged_as: How diverged trials count (`orchestrator.figures.evidence`).
        groups: Bases looked at, if it is about cells alone.
    """

    outcome: Outcome
    cells: int
    trials: pd.DataFrame | None = None
    note: str = ""
    diverged_as: str = RANKED_LAST
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measure:
    """A way to look at a claim.

    Attributes:
        name: What is looked at.
        effect: What the effect is. It exceeds its value without an effect where the claim is right,
            or falls below a margin if `equality`.
        test: What it observes in trials that may be combined; None if they lack what it needs.
        smallest: The smallest effect of interest; NaN for equality, which has a margin instead, and
            for exploratory measures.
        scale: Of the effect.
        equality: Whether the claim is that nothing differs by more than a margin.
        grows: What more of makes the test more powerful.
    """

    name: str
    effect: str
    test: Callable[[Population], Sample | None]
    smallest: float = math.nan
    scale: Scale = "correlation"
    equality: bool = False
    grows: Grows = "variants"


@dataclass(frozen=True)
class Finding:
    """What one measure of one claim found. NaN stands for what cannot be had.

    Statement, source, family and stated are the `Claim`'s; effect, scale, smallest, equality and
    grows the `Measure`'s; low, high, null, exact, least_p and finder the `Outcome`'s.

    Attributes:
        claim: The claim's id.
        measure: The measure's name.
        primary: Whether this is the claim's main measure. Others are exploratory: they are not
            corrected and have no verdict.
        size: The effect.
        p: Two-sided, without correction, as is the interval from `low` to `high`.
        p_holm: `p` corrected for the other claims of the family.
        detectable: The effect that such studies find in 80 % of cases, after Holm's correction.
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
        paper_datasets: Those that the claim is about; empty if it is about cells alone.
        substitute: Whether it was measured on another dataset than those, so that it bears no
            verdict.
        verdict: One of `VERDICTS`, `COUNTED` or `FAILED`; empty if the measure is exploratory.
        reading: What else there is to know, as text.
        level: Of the test, as Holm's correction leaves it to the smallest p of the family.
        used: Rows of `Population.trials` behind it.
    """

    claim: str
    statement: str
    source: str
    family: str
    measure: str = ""
    effect: str = ""
    scale: Scale = "correlation"
    primary: bool = True
    size: float = math.nan
    low: float = math.nan
    high: float = math.nan
    null: float = math.nan
    smallest: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    exact: bool = False
    least_p: float = math.nan
    detectable: float = math.nan
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
    verdict: str = ""
    reading: str = ""
    equality: bool = False
    grows: Grows = "variants"
    stated: bool = False
    level: float = math.nan
    finder: Finder | None = field(default=None, repr=False, compare=False)
    used: pd.DataFrame | None = field(default=None, repr=False, compare=False)

    def record(self) -> dict[str, Any]:
        """Return the finding as plain data, None for what is not finite."""
        values = {one.name: getattr(self, one.name) for one in fields(self) if one.compare}
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in values.items()
        }

    @property
    def agrees(self) -> bool:
        """Whether the effect is on the side that the claim is about."""
        return self.size < self.null if self.equality else self.size > self.null


_COPIED = ("low", "high", "null", "p", "exact", "least_p", "finder")
"""Fields of an `Outcome` that a finding has too."""


@dataclass(frozen=True)
class Claim:
    """A statement, the measures that look at it, the main one first, and what can test it.

    Attributes:
        id: As the command line names it.
        statement: The statement of the paper.
        source: Section, figure or table; E is the paper's earlier version.
        family: Claims whose p-values are corrected together.
        measures: The main measure, then exploratory ones.
        needs: What a store must hold, as text.
        launch: Arguments of `nas-sweep launch` that suffice to support it; empty if none are
            needed.
        datasets: Those that the statement is about; empty if it is about cells alone.
        recipe: Name of the recipe (`RECIPES`) that the paper trained with.
        counted: Whether it is a fact about published cells.
        stated: Whether an experiment states it of its own results.
    """

    id: str
    statement: str
    source: str
    family: str
    measures: tuple[Measure, ...]
    needs: str = ""
    launch: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    recipe: str = "section4"
    counted: bool = False
    stated: bool = False

    @property
    def main(self) -> Measure:
        """The measure that decides."""
        return self.measures[0]

    def findings(self, population: Population) -> list[Finding]:
        """Return what the measures find, without verdicts; `judge` gives those.

        Trials that no finding may combine (`evidence.scopes`) are tested apart.
        """
        split = self.datasets and not self.stated
        parts = population.scopes(self.datasets) if split else [population]
        found = []
        for part in parts:
            observed = [(measure, measure.test(part)) for measure in self.measures]
            found += [self._finding(m, sample) for m, sample in observed if sample]
        return found if any(one.primary for one in found) else [self.no_data(), *found]

    def _finding(self, measure: Measure, sample: Sample) -> Finding:
        outcome, primary, rows = sample.outcome, measure is self.main, sample.trials
        found = replace(
            self._blank(measure),
            primary=primary,
            size=outcome.value,
            **{name: getattr(outcome, name) for name in _COPIED},
            cells=int(sample.cells),  # counts of NumPy are no JSON
            groups=sample.groups,
            diverged_as=sample.diverged_as,
            verdict=COUNTED if self.counted and primary else "",
            reading=sample.note,
        )
        return found if rows is None else replace(found, **self._provenance(rows))

    def _provenance(self, rows: Any) -> dict[str, Any]:
        """Return the fields of a finding that tell which trials it is about."""
        departures = ""
        if self.stated:
            rows = rows.assign(setting=rows["dataset"])  # its axes are compared, not combined
        shares = evidence.weights(rows, within=CELL)
        if not self.stated:
            rates = rows["learning_rate"].unique().tolist()
            departures = evidence.name_departures(shares, self.recipe, rates)
        pairs = rows[["base", "dataset"]].drop_duplicates().to_numpy()
        lost = rows.drop_duplicates("trial_id")["status"] == "diverged"
        return {
            "trials": rows["trial_id"].nunique(),
            "diverged": int(lost.sum()),
            "groups": tuple(sorted(f"{base} {data}" for base, data in pairs)),
            "datasets": tuple(evidence.read_setting(key).dataset for key in shares),
            "weights": tuple(shares.values()),
            "data": evidence.name_data(shares),
            "departures": departures,
            "substitute": evidence.is_substitute(shares, self.datasets),
            "used": rows,
        }

    def failed(self, error: str) -> Finding:
        """Return the finding of a test that ended in an unexpected error."""
        return replace(self._blank(self.main), verdict=FAILED, reading=error)

    def no_data(self) -> Finding:
        """Return the finding that the store lacks what the claim needs."""
        options = (f"'{text}'" if "[" in text else text for text in self.launch)
        how = f" (launch {' '.join(options)})" if self.launch else ""
        return replace(self._blank(self.main), verdict=NO_DATA, reading=f"needs {self.needs}{how}")

    def _blank(self, measure: Measure) -> Finding:
        return Finding(
            self.id, self.statement, self.source, self.family, measure.name, measure.effect,
            measure.scale, smallest=measure.smallest, paper_datasets=self.datasets,
            equality=measure.equality, grows=measure.grows, stated=self.stated,
        )  # fmt: skip


def judge(found: Sequence[Finding]) -> list[Finding]:
    """Correct the p-values of each family's main measures and give their verdicts.

    What was measured on substitutes bears no verdict, and is corrected apart; what so few data
    could never show is left out of the correction.
    """
    families: dict[tuple[str, bool], list[int]] = {}
    for place, one in enumerate(found):
        if _is_tested(one):
            families.setdefault((one.family, one.substitute), []).append(place)
    judged = list(found)
    for places in families.values():
        level = ALPHA / len(places)
        corrected = holm([found[place].p for place in places])
        for place, p in zip(places, corrected, strict=True):
            finder = found[place].finder
            detectable = finder(level, POWER, 1.0) if finder else math.nan
            judged[place] = replace(found[place], p_holm=p, detectable=detectable, level=level)
    return [_judge(one) for one in judged]


def _is_tested(one: Finding) -> bool:
    return one.primary and not one.verdict and not math.isnan(one.size) and one.least_p <= ALPHA


def _judge(one: Finding) -> Finding:
    if one.verdict or not one.primary:
        return one
    verdict = _verdict(one)
    remarks = []
    if one.substitute:
        about = " and ".join(one.paper_datasets)
        remarks.append(f"measured on {one.data}, the claim is about {about}")
    elif verdict == NOT_TESTABLE and not math.isnan(one.low):
        remarks.append(f"p cannot be below {one.least_p:.2g} with so few data")
    elif verdict == NOT_TESTABLE and not math.isnan(one.size):
        remarks.append("all values are alike")
    elif verdict == INCONCLUSIVE and one.p < ALPHA:
        remarks.append(f"p = {one.p:.2g} before correction")
    if one.diverged:
        remarks.append(f"{one.diverged} of {one.trials} trials diverged, {one.diverged_as}")
    return replace(one, verdict=verdict, reading="; ".join(filter(None, [*remarks, one.reading])))


def _verdict(one: Finding) -> str:
    if one.substitute or not _is_tested(one):
        return NOT_TESTABLE
    if one.p_holm < ALPHA:
        return SUPPORTED if one.agrees else CONTRADICTED
    if one.p >= ALPHA and not math.isnan(one.smallest):
        # As far on the other side of no effect, which of odds is a ratio.
        odds = one.scale in ("odds", "ratio")
        other = one.null**2 / one.smallest if odds else 2 * one.null - one.smallest
        if other < one.low and one.high < one.smallest:
            return NO_EFFECT
    return INCONCLUSIVE
