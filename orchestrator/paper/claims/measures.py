"""Measures that claims share: trends over cells, a base among its variants, a cell among rivals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import BASE, CONNECTIONS, GROUP, score_cells, with_base
from orchestrator.paper.claims.claim import Measure, Sample
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.association import partial_trend, peak, trend
from orchestrator.paper.statistics.comparison import Runs, first, superiority
from orchestrator.paper.statistics.laws import Outcome

RHO = 0.3
"""The smallest correlation of interest."""

MOST = 0.75
"""The smallest share of interest, or probability to surpass, where one half is no effect."""

LEAD = 0.2
"""The smallest lead of middle values of interest, in mean ranks."""


class Values(NamedTuple):
    """What trials are compared in: accuracies, jitter, a number of their landscapes.

    Attributes:
        column: Of trials.
        name: Of a measure that looks at them.
        rises: Whether more is better.
        source: Returns the trials of a population, with the column; by default those at the usual
            learning rate.
    """

    column: str
    name: str
    rises: bool = True
    source: Callable[[Population], pd.DataFrame] = Population.at_rate


AREA = Values("area_20", "mean test accuracy over the first 20 % of epochs")
FINAL = Values("final", "test accuracy after the last epoch")
COVARIATES = ["live_parameters", "skips", "inputs"]


def trend_over(trait: str, values: Values) -> Measure:
    """Return the measure of a trend: variants do better, the larger their trait.

    Args:
        trait: Such as "width"; "shallowness" is depth, of which less is better.
        values: What they do better in.
    """
    return Measure(values.name, f"ρ with {trait}", partial(_associate, trend, trait, values), RHO)


def trends_over(trait: str, *values: Values) -> tuple[Measure, ...]:
    """Return the measures of trends in several values, and of the first freed of covariates."""
    effect = f"ρ with {trait}, freed of parameters, skips and inputs"
    freed = partial(_associate, partial_trend, trait, values[0], freed_of=COVARIATES)
    trends = (trend_over(trait, one) for one in values)
    return (*trends, Measure(values[0].name, effect, freed))


def peak_over_width(values: Values) -> Measure:
    """Return the measure of a peak at middle widths."""
    effect = "lead of cells of middle width over the better side, in mean ranks"
    return Measure(values.name, effect, partial(_associate, peak, "width", values), LEAD)


def _associate(
    test: Callable[..., Outcome],
    trait: str,
    values: Values,
    population: Population,
    *,
    freed_of: Sequence[str] = (),
) -> Sample | None:
    """Test an association of the scores of connection variants with their trait."""
    rows: Any = values.source(population)
    rows = rows[(rows["kind"] == CONNECTIONS) & rows[values.column].notna()]
    cells = score_cells(rows, values.column, rises=values.rises)
    x = -cells["depth"] if trait == "shallowness" else cells[trait]
    others = [cells[[*freed_of]].dropna(axis=1, how="all").to_numpy(dtype=float)]
    found = test(x, cells["score"], cells["base"], *(others if freed_of else []))
    return None if np.isnan(found.value) else Sample(found, found.n, rows)


def among_variants(values: Values) -> Measure:
    """Return the measure of bases' places among their variants."""

    def test(population: Population) -> Sample | None:
        rows = with_base(values.source(population), values.column)
        if rows.empty:
            return None
        cells: Any = score_cells(rows, values.column, rises=values.rises)
        places, ones, variants = [], [], []
        for base, part in cells.groupby("base"):
            one, others = (
                part[part["kind"] == kind]["score"].to_numpy() for kind in (BASE, CONNECTIONS)
            )
            places.append(f"{base} {1 + int((others > one[0]).sum())} of {len(others) + 1}")
            ones.append(one)
            variants.append(others)
        note = f"places: {', '.join(places)}; as if bases and their variants were drawn again"
        return Sample(superiority(ones, variants), len(cells), rows, note)

    effect = "mean share of its variants that a base surpasses"
    return Measure(values.name, effect, test, MOST, "share", grows="bases")


def ahead_of(
    values: Values, one: str, rivals: Sequence[str], *, base: str, ahead: bool = True
) -> Measure:
    """Return the measure of one named cell against others: does it surpass them all?

    Args:
        values: What they are compared in.
        one: Name of the cell.
        rivals: Names of the others; those that were not trained are left out.
        base: Of all the cells.
        ahead: Whether the claim is that it is first, or that it is not.
    """

    def test(population: Population) -> Sample | None:
        rows: Any = values.source(population)
        rows = rows[(rows["base"] == base) & rows["variant"].isin([one, *rivals])]
        runs = runs_of(rows, values.column, 1 if values.rises else -1)
        others = [runs[rival] for rival in rivals if rival in runs]
        if one not in runs or not others:
            return None
        found = first(runs[one], others)
        if np.isnan(found.value):
            return None
        return Sample(found if ahead else found.turned(), len(others) + 1, rows)

    rival = "its closest rival" if len(rivals) > 1 else rivals[0]
    effect = f"P({one} surpasses {rival})" if ahead else f"P(a rival surpasses {one})"
    return Measure(values.name, effect, test, MOST, "share", grows="seeds")


def runs_of(rows: Any, column: str, sign: float = 1.0) -> dict[str, Runs]:
    """Return the values of each variant's runs by setting and rate, empty where it has none."""
    rows = rows[rows[column].notna()]
    groups = rows.groupby(GROUP).ngroup().to_numpy()
    values, names = sign * rows[column].to_numpy(dtype=float), rows["variant"].to_numpy()
    places = range(groups.max(initial=-1) + 1)
    return {
        name: [values[(names == name) & (groups == place)] for place in places]
        for name in dict.fromkeys(names)
    }
