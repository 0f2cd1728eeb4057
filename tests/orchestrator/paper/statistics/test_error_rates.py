"""Size, coverage and power of every main measure, in studies whose truth is known.

    python -m pytest -m long tests/orchestrator/paper/statistics/test_error_rates.py

writes the table of docs/claims.md to error-rates.md. In rough studies values tie, cells have 1 to 3
seeds, a run in twenty diverges, and each cell is trained on two data sets. The environment
variable STUDIES sets the number of studies of each line. Many studies are made and scored at once,
as bases of one table, and tested one by one.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.figures.evidence import BASE, CONNECTIONS, OPERATIONS, score_cells
from orchestrator.paper.claims import CLAIMS
from orchestrator.paper.claims.measures import MOST, RHO
from orchestrator.paper.claims.population import convergence
from orchestrator.paper.claims.power import times_needed
from orchestrator.paper.claims.training import distances_from_median, failures_by_half
from orchestrator.paper.statistics.association import _leads, peak, stratum_ranks, trend, usable
from orchestrator.paper.statistics.comparison import (
    best_lead,
    contrasts,
    first,
    mean,
    odds_ratio,
    superiority,
)
from orchestrator.paper.statistics.laws import Outcome

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

STUDIES = int(os.environ.get("STUDIES", "2000"))
SIZE, COVERAGE = 0.07, 0.93
TABLE = Path(os.environ.get("ERROR_RATES", "error-rates.md"))
HEAD = "| measure | cells | studies | size | coverage | at the smallest effect | power |\n"

# Widths of the variants of each base, as Table 2 has them.
DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
ENAS = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5], [2, 2, 2, 2, 5])
AMOEBA = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5], [4, 3, 3, 1, 2])
MANY = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5, 4.0], [6, 10, 14, 12, 7, 3])
BASES = {"13 of one base": [DARTS], "52 of one base": [MANY], "4 × 13": [DARTS, ENAS, AMOEBA, ENAS]}


def cells_of(design: str, studies: int, kind: str = CONNECTIONS) -> Any:
    """Return the cells of many studies; `base` numbers the study's bases, ten to a study."""
    widths = BASES[design]
    bases = np.concatenate([np.full(len(part), place) for place, part in enumerate(widths)])
    study = np.repeat(np.arange(studies), len(bases))
    cells = pd.DataFrame({"base": 10 * study + np.tile(bases, studies), "kind": kind})
    cells["width"] = np.tile(np.concatenate(widths), studies)
    return cells


def scored(cells: Any, rng: Any, *, rough: bool, noise: float = 0.5) -> Any:
    """Return cells by base with the score of their runs, whose values are `true` and noise."""
    cells = cells.sort_values("base", kind="stable", ignore_index=True)
    counts = rng.integers(1, 4, len(cells)) if rough else np.ones(len(cells), dtype=int)
    runs = cells.loc[np.repeat(np.tile(cells.index, 1 + rough), np.tile(counts, 1 + rough))]
    runs = runs.assign(variant=runs.index, learning_rate=0.025)
    runs["setting"] = np.repeat(np.arange(1 + rough), counts.sum())
    value = runs["true"].to_numpy() + noise * rng.standard_normal(len(runs))
    if rough:
        value = np.where(rng.random(len(runs)) < 0.05, -math.inf, (2 * value).round() / 2)
    return score_cells(runs.assign(value=value), "value")


class Studies(NamedTuple):
    """Studies of one line of the table, each of one strength of the effect."""

    design: str
    rng: Any
    strength: float
    rough: bool
    number: int


def by_study(table: Any) -> Iterator[Any]:
    """Yield the rows of each study, whose bases are neighbours."""
    studies = table["base"].to_numpy() // 10
    ends = np.flatnonzero(np.diff(studies)) + 1
    for start, end in zip([0, *ends], [*ends, len(table)], strict=True):
        yield table.iloc[start:end]


def columns(table: Any, *names: str) -> list[np.ndarray]:
    return [table[name].to_numpy(dtype=float) for name in names]


def normal_scores(cells: Any, column: str) -> np.ndarray:
    """Return normal scores of the order of values within bases, ties broken at random."""
    groups = cells.groupby("base")[column]
    return stats.norm.ppf((groups.rank(method="first") - 0.5) / groups.transform("size"))


def correlation(x: np.ndarray, y: np.ndarray, strata: np.ndarray) -> float:
    keep = usable(x, y, strata)
    a, b = (stratum_ranks(values[keep], strata[keep]) for values in (x, y))
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


class Trend(NamedTuple):
    """Outcomes that rise with width, as strong as a correlation of normal scores."""

    designs: Any = BASES
    smallest: float = RHO
    most: float = 0.99

    def _scored(self, cells: Any, rng: Any, strength: float, rough: bool) -> Any:
        noise = math.sqrt(1 - strength**2) * rng.standard_normal(len(cells))
        true = strength * normal_scores(cells, "width") + noise
        return scored(cells.assign(true=true), rng, rough=rough)

    def truth(self, design: str, strength: float, rough: bool) -> float:
        cells = cells_of(design, 200)  # as one study
        cells = cells.assign(base=cells["base"] % 10)
        cells = cells.sort_values("base", kind="stable", ignore_index=True)
        one = self._scored(cells, np.random.default_rng(7), strength, rough)
        return correlation(*columns(one, "width", "score", "base"))

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        cells = cells_of(ask.design, ask.number)
        for study in by_study(self._scored(cells, ask.rng, ask.strength, ask.rough)):
            yield trend(study["width"], study["score"], study["base"])


class Peak(NamedTuple):
    """Outcomes over width: without an effect they rise steeply, and then no more."""

    designs: Any = BASES
    smallest: float = 0.2
    most: float = 4.0
    one_sided: bool = True

    def _scored(self, ask: Studies) -> Any:
        cells = cells_of(ask.design, ask.number)
        u = cells.groupby("base")["width"].rank(pct=True)
        plateau, summit = 2 * np.minimum(u, 0.4), -8 * ask.strength * (u - 0.5) ** 2
        true = summit if ask.strength else plateau
        true = true + 0.5 * ask.rng.standard_normal(len(cells))
        return scored(cells.assign(true=true), ask.rng, rough=ask.rough)

    def truth(self, design: str, strength: float, rough: bool) -> float:
        # The leads of very many studies, averaged; ranks are within studies of this size.
        ask = Studies(design, np.random.default_rng(7), strength, rough, 200)
        sums: Any = 0
        for study in by_study(self._scored(ask)):
            x, y, strata = columns(study, "width", "score", "base")
            sums = sums + np.stack([side @ y for side in _leads(x, strata)])
        return float((sums / 200).min(axis=0).max())

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        for study in by_study(self._scored(ask)):
            yield peak(study["width"], study["score"], study["base"])


class Place(NamedTuple):
    """Bases among their variants; both are drawn again in each study."""

    designs: Any = BASES
    smallest: float = MOST
    most: float = 4.0

    def _parts(self, ask: Studies) -> Iterator[list[tuple[np.ndarray, np.ndarray]]]:
        cells = cells_of(ask.design, ask.number)
        bases = cells.drop_duplicates("base").assign(kind=BASE)
        both = pd.concat([bases, cells], ignore_index=True)
        true = ask.rng.standard_normal(len(both)) + ask.strength * (both["kind"] == BASE)
        for study in by_study(scored(both.assign(true=true), ask.rng, rough=ask.rough)):
            base, score = columns(study, "base", "score")
            mine = study["kind"].to_numpy() == BASE
            yield [(score[mine & (base == b)], score[~mine & (base == b)]) for b in np.unique(base)]

    def truth(self, design: str, strength: float, rough: bool) -> float:
        parts = self._parts(Studies(design, np.random.default_rng(7), strength, rough, 1500))
        places = [(a > b).mean() + (a == b).mean() / 2 for study in parts for a, b in study]
        return float(np.mean(places))

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        for study in self._parts(ask):
            yield superiority(*zip(*study, strict=True))


class Spread(NamedTuple):
    """Connection variants, and ten operation variants of each base that spread less."""

    designs: Any = BASES
    smallest: float = RHO
    most: float = 4.0
    others: int = 10

    def _scored(self, ask: Studies, copies: int = 1) -> Any:
        cells = pd.concat([cells_of(ask.design, ask.number)] * copies, ignore_index=True)
        other = cells.groupby("base").head(self.others * copies).assign(kind=OPERATIONS)
        both = pd.concat([cells, other], ignore_index=True)
        spread = np.where(both["kind"] == CONNECTIONS, math.exp(ask.strength), 1.0)
        both["true"] = spread * ask.rng.standard_normal(len(both))
        far = distances_from_median(scored(both, ask.rng, rough=ask.rough, noise=0.1))
        return far.assign(own=far["kind"] == CONNECTIONS)

    def truth(self, design: str, strength: float, rough: bool) -> float:
        one = self._scored(Studies(design, np.random.default_rng(7), strength, rough, 1), 200)
        return correlation(*columns(one, "own", "distance", "base"))

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        for study in by_study(self._scored(ask)):
            yield trend(study["own"], study["distance"], study["base"])


class Odds(NamedTuple):
    """Failing runs, of bases that fail more and less often."""

    designs: Any = BASES
    planted: float = 3.0
    none: float = 1.0

    def truth(self, design: str, strength: float, rough: bool) -> float:
        return strength

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        cells = cells_of(ask.design, ask.number)
        narrow = cells["width"] < cells.groupby("base")["width"].transform("median")
        rates = 0.25 + 0.1 * (cells["base"] % 10)
        odds = rates / (1 - rates) * np.where(narrow, ask.strength, 1.0)
        cells["failed"] = ask.rng.random(len(cells)) < odds / (1 + odds)
        # Alike in all runs of a cell: with other runs the truth would be another.
        counts = ask.rng.integers(1, 4, len(cells)) ** ask.rough
        runs = cells.loc[np.repeat(cells.index, counts)]
        tables = failures_by_half(runs.assign(variant=runs.index)).reset_index(names="base")
        for study in by_study(tables):
            yield odds_ratio([tuple(row) for row in study.iloc[:, 1:].to_numpy().tolist()])


def runs_of_cells(rng: Any, true: Any, seeds: int, rough: bool, noise: float = 1.0) -> list[Any]:
    """Return runs of cells by data set: [cell, run] each; accuracies, if any diverge, tie."""
    settings = [seeds, seeds - 1] if rough else [seeds]
    found = []
    for count in settings:
        value = np.asarray(true)[:, None] + noise * rng.standard_normal((len(true), count))
        if rough:
            value = np.where(rng.random(value.shape) < 0.05, -math.inf, (2 * value).round() / 2)
        found.append(value)
    return found


class First(NamedTuple):
    """One cell leads four by as much; without an effect it ties with one and leads three."""

    designs: Any = ("6 seeds", "9 seeds")
    smallest: float = MOST
    most: float = 4.0

    def truth(self, design: str, strength: float, rough: bool) -> float:
        if not strength:
            return 0.5
        [a], [b] = (
            runs_of_cells(np.random.default_rng(s), [v], 10**5, rough)[0]
            for s, v in ((1, strength), (2, 0.0))
        )
        return float((a > b).mean() + (a == b).mean() / 2)

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        true = [ask.strength, 0, 0, 0, 0] if ask.strength else [3.0, 3.0, 0, 0, 0]
        for _ in range(ask.number):
            runs = runs_of_cells(ask.rng, true, int(ask.design.split()[0]), ask.rough)
            one, *rivals = zip(*runs, strict=True)
            yield first(one, rivals)


class Order(NamedTuple):
    """Three cells in one order, ranked within runs."""

    designs: Any = ("3 seeds", "6 seeds")
    smallest: float = 0.5
    most: float = 4.0

    def _columns(self, rng: Any, strength: float, seeds: int, rough: bool) -> list[np.ndarray]:
        values = np.concatenate(runs_of_cells(rng, np.arange(3) * strength, seeds, rough), axis=1).T
        return [
            np.tile(np.arange(3.0), len(values)),
            values.ravel(),
            np.repeat(np.arange(len(values)), 3),
        ]

    def truth(self, design: str, strength: float, rough: bool) -> float:
        return correlation(*self._columns(np.random.default_rng(7), strength, 20_000, rough))

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        seeds = int(ask.design.split()[0])
        for _ in range(ask.number):
            yield trend(*self._columns(ask.rng, ask.strength, seeds, ask.rough))


class Lead(NamedTuple):
    """The best variant leads its base, or with `amoeba` the base leads every variant."""

    designs: Any = BASES
    planted: float = 0.5
    amoeba: bool = False
    seeds: int = 3
    noise: float = 0.2

    def truth(self, design: str, strength: float, rough: bool) -> float:
        return strength

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        lead = np.zeros((1 + (13 if "13" in ask.design else 52), self.seeds))
        lead[1 : None if self.amoeba else 2] = -ask.strength if self.amoeba else ask.strength
        for _ in range(ask.number):
            sets = []
            for _ in range(4 if ask.design.startswith("4") else 1):
                runs = 90 + lead + self.noise * ask.rng.standard_normal(lead.shape)
                if ask.rough:
                    runs = (5 * runs).round() / 5
                kept = (ask.rng.random(runs.shape) > 0.2 * ask.rough) | (np.arange(self.seeds) == 0)
                base, *others = [[row[keep]] for row, keep in zip(runs, kept, strict=True)]
                sets.append(contrasts(base, others))
            found = best_lead(sets)
            yield found.turned() if self.amoeba else found


class Gain(NamedTuple):
    """Adapted cells of five architectures that differ at random in what they gain."""

    designs: Any = ("5 architectures",)
    planted: float = 0.5

    def truth(self, design: str, strength: float, rough: bool) -> float:
        return strength * (1 - 0.02 * rough)

    def outcomes(self, ask: Studies) -> Iterator[Outcome]:
        rng = ask.rng
        for _ in range(ask.number):
            true = 90 + 0.3 * rng.standard_normal((2, 5)) + np.array([[0.0], [ask.strength]])
            errors = np.empty((2, 5))
            for place in np.ndindex(2, 5):
                seeds = int(rng.integers(1, 4)) if ask.rough else 1
                runs = true[place] + 0.2 * rng.standard_normal(seeds)
                if ask.rough:
                    runs = np.where(rng.random(seeds) < 0.02, 0.0, (5 * runs).round() / 5)
                errors[place] = runs.mean()
            yield mean(errors[1] - errors[0])


CASES: dict[str, Any] = {
    "trend over width": Trend(),
    "place among variants": Place(),
    "peak at middle width": Peak(),
    "spread of operations": Spread(),
    "odds of failing": Odds(),
    "first of five cells": First(),
    "order of three cells": Order(),
    "lead of the best variant": Lead(),
    "lead over all variants": Lead(("13 of one base", "52 of one base"), amoeba=True),
    "adapted cells": Gain(),
}
LINES = [(n, design, rough) for n in CASES for design in CASES[n].designs for rough in (0, 1)]


def sought(case: Any, design: str, rough: bool) -> float:
    """Return the strength whose true effect is the smallest of interest."""
    low, middle, high = 0.0, 0.0, case.most
    for _ in range(12):
        middle = (low + high) / 2
        short = case.truth(design, middle, rough) < case.smallest
        low, high = (middle, high) if short else (low, middle)
    return middle


@pytest.fixture(scope="module", autouse=True)
def table():
    TABLE.write_text(HEAD + "| --- | --- | --- | ---: | ---: | ---: | ---: |\n")
    yield
    print(TABLE.read_text())


@pytest.mark.parametrize(("name", "design", "rough"), LINES)
def test_size_and_coverage_are_nominal(name, design, rough):
    case, rough = CASES[name], bool(rough)
    strength = getattr(case, "planted", None) or sought(case, design, rough)
    none = getattr(case, "none", 0.0)
    rng = np.random.default_rng([len(name), len(design), rough])
    shares = []
    for planted in (none, strength):
        truth = case.truth(design, planted, rough)
        found = list(case.outcomes(Studies(design, rng, planted, rough, STUDIES)))
        known = [one for one in found if not math.isnan(one.low)]
        held = np.mean([one.low - 1e-9 <= truth <= one.high + 1e-9 for one in known])
        # A plateau is none of a peak's opposites: what may not be found there is a peak.
        upper = planted != none or hasattr(case, "one_sided")
        wrong = [one.p < 0.05 and (not upper or one.value > one.null) for one in known]
        shares += [sum(wrong) / STUDIES, held]
    size, covered, power, covered_there = shares
    numbers = [f"{100 * share:.1f} %" for share in (size, covered, covered_there, power)]
    with TABLE.open("a") as file:
        file.write(f"| {' | '.join([name, design, 'rough' if rough else 'plain', *numbers])} |\n")
    assert size <= SIZE
    assert min(covered, covered_there) >= COVERAGE


def more(widths: np.ndarray, times: float) -> np.ndarray:
    """Return the widths of so many times the cells, distributed alike."""
    count = math.ceil(times * len(widths) - 1e-9)
    return np.sort(widths)[np.arange(count) * len(widths) // count]


LEVEL, POWER = 0.01, 0.8  # of the smallest p of five claims


@pytest.mark.parametrize(
    ("name", "design"),
    [
        ("trend over width", "13 of one base"),
        ("trend over width", "4 × 13"),
        ("spread of operations", "4 × 13"),
        ("odds of failing", "4 × 13"),
        ("first of five cells", "6 seeds"),
        ("order of three cells", "6 seeds"),
        ("lead of the best variant", "13 of one base"),
        ("lead over all variants", "13 of one base"),
    ],
)
def test_planned_data_have_the_promised_power(name, design, monkeypatch):
    case, rng = CASES[name], np.random.default_rng(len(name + design))
    smallest = getattr(case, "smallest", None) or case.planted
    # So that the whole number of seeds is large.
    case = case._replace(noise=0.5) if isinstance(case, Lead) else case
    planned = []
    for outcome in case.outcomes(Studies(design, rng, getattr(case, "none", 0.0), False, 40)):
        one: Any = SimpleNamespace(finder=outcome.finder, level=LEVEL, smallest=smallest)
        planned.append(times_needed(one, POWER))
    times = float(np.median(planned))
    if "seeds" in design:
        design = f"{math.ceil(times * int(design[0]))} seeds"
    elif isinstance(case, Lead):
        case = case._replace(seeds=math.ceil(3 * times))
    else:
        monkeypatch.setitem(BASES, "planned", [more(widths, times) for widths in BASES[design]])
        if isinstance(case, Spread):
            case = case._replace(others=math.ceil(10 * times))
        design = "planned"
    strength = getattr(case, "planted", None) or sought(case, design, False)
    studies = min(STUDIES, 1000)
    found = case.outcomes(Studies(design, rng, strength, False, studies))
    power = sum(one.p < LEVEL and one.value > one.null for one in found) / studies
    print(f"{name}, {design}: {times:.2f} times the data, power {power:.3f}")
    assert power == pytest.approx(POWER, abs=0.05)


@pytest.mark.parametrize("planned", [60, 100, 600])
def test_cells_that_differ_in_speed_alone_do_not_differ_in_stability(planned):
    rng, wrong = np.random.default_rng(planned), []
    epochs = np.arange(1, planned + 1)
    for _ in range(min(STUDIES, 200)):
        cells = cells_of("4 × 13", 1)
        speed = 10 / planned * (1 + 0.3 * normal_scores(cells, "width")).clip(0.2)
        curves = 0.9 * (1 - np.exp(-np.outer(speed, epochs)))
        curves += 0.005 * rng.standard_normal(curves.shape)
        metrics = pd.DataFrame(
            {"trial_id": np.repeat(cells.index, planned), "epoch": np.tile(epochs, len(cells)),
             "test_accuracy": curves.ravel()}
        )  # fmt: skip
        rows = cells.assign(trial_id=cells.index, status="done", planned=planned, target=0.9)
        cells["true"] = convergence(metrics, rows)["jitter"]
        table = scored(cells, rng, rough=False, noise=0.0)
        wrong.append(trend(table["width"], table["score"], table["base"]).p < 0.05)
    assert np.mean(wrong) <= SIZE


def test_the_effects_of_interest_are_those_of_the_claims():
    names = {
        "wider-faster": Trend().smallest, "base-fastest": Place().smallest,
        "peak-at-middle": Peak().smallest, "operations-alike": Spread().smallest,
        "narrow-fail-at-high-rate": Odds().planted, "darts-ends-best": First().smallest,
        "order-at-low-rate": Order().smallest, "some-variants-beat-base": Lead().planted,
        "adapted-better-cifar100": Gain().planted,
    }  # fmt: skip
    assert {c.id: c.main.smallest for c in CLAIMS if c.id in names} == names
