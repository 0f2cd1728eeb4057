"""Measures that claims share: trends over cells, a base among its variants, a cell among rivals.

A factory takes where the values come from, a function from a population to trials with a column, so
that accuracies, jitter and landscapes are looked at in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import BASE, CELL, CONNECTIONS, GROUP, score_cells, with_base
from orchestrator.paper.claims.claim import Measure, Sample
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.association import partial_trend, peak, trend
from orchestrator.paper.statistics.comparison import Runs, first, superiority
from orchestrator.paper.statistics.laws import Outcome

Source = Callable[[Population], pd.DataFrame]
"""Trials of a population, with a column of values to be looked at; may be empty."""

RHO = 0.3
"""The smallest correlation of interest."""

MOST = 0.75
"""The smallest share of interest, or probability to surpass, where one half is no effect."""

LEAD = 0.2
"""The smallest lead of middle values of interest, in mean ranks."""

AREA = "mean test accuracy over the first 20 % of epochs"
FINAL = "test accuracy after the last epoch"
COVARIATES = ["live_parameters", "skips", "inputs"]

Association = Callable[[np.ndarray, np.ndarray, np.ndarray], Outcome]


def at_rate(population: Population) -> pd.DataFrame:
    """Return the trials at the usual learning rate with their measures of convergence."""
    return population.at_rate()


def over(
    trait: str,
    source: Source,
    column: str,
    name: str,
    *,
    rises: bool = True,
    kinds: Sequence[str] = (CONNECTIONS,),
    smallest: float = RHO,
) -> Measure:
    """Return the measure of a trend: cells do better, the larger their trait.

    Args:
        trait: Such as "width"; "shallowness" is depth, of which less is better.
        source: Of the trials.
        column: Of the values.
        name: Of the measure.
        rises: Whether more of the value is better.
        kinds: Of the members that are compared.
        smallest: As in `Measure`.
    """
    test = partial(_associate, trend, trait, source, column, rises, kinds)
    return Measure(name, f"ρ with {trait}", test, smallest)


def beside(
    trait: str, source: Source, column: str, name: str, *, rises: bool = True
) -> tuple[Measure, ...]:
    """Return the exploratory measure beside such a trend: ρ freed of covariates."""

    def freed(population: Population) -> Sample | None:
        rows = source(population)
        if rows.empty or not set(COVARIATES) <= set(rows.columns):
            return None
        variants: Any = rows[rows["kind"] == CONNECTIONS]
        cells = score_cells(variants, column, rises=rises)
        others = cells[COVARIATES].to_numpy(dtype=float)
        others = others[:, ~np.isnan(others).all(axis=0)]
        test = lambda x, y, strata: partial_trend(x, y, others, strata)  # noqa: E731
        return _associate(test, trait, source, column, rises, (CONNECTIONS,), population)

    return (Measure(name, f"ρ with {trait}, freed of parameters, skips and inputs", freed),)


def peak_over(
    trait: str, source: Source, column: str, name: str, smallest: float = LEAD
) -> Measure:
    """Return the measure of a peak at middle values of a trait."""
    test = partial(_associate, peak, trait, source, column, True, (CONNECTIONS,))
    effect = f"lead of cells of middle {trait} over the better side, in mean ranks"
    return Measure(name, effect, test, smallest)


def _associate(
    test: Association,
    trait: str,
    source: Source,
    column: str,
    rises: bool,
    kinds: Sequence[str],
    population: Population,
) -> Sample | None:
    rows: Any = source(population)
    if rows.empty:
        return None
    rows = rows[rows["kind"].isin(kinds) & rows[column].notna()]
    cells = score_cells(rows, column, rises=rises)
    sign, of = (-1, "depth") if trait == "shallowness" else (1, trait)
    if of not in cells:
        cells = cells.merge(rows.groupby(CELL)[of].mean().reset_index(), on=CELL)
    x = sign * cells[of].to_numpy(dtype=float)
    y, strata = cells["score"].to_numpy(dtype=float), cells["base"].to_numpy(dtype=str)
    found = test(x, y, strata)
    return None if np.isnan(found.value) else Sample(found, found.n, rows)


def among_variants(source: Source, column: str, name: str, *, rises: bool = True) -> Measure:
    """Return the measure of bases' places among their variants."""

    def test(population: Population) -> Sample | None:
        rows: Any = source(population)
        rows = rows if rows.empty else with_base(rows, column)
        if rows.empty:
            return None
        cells: Any = score_cells(rows, column, rises=rises)
        bases = dict(iter(cells.groupby("base")))
        ones = [_scores(part, BASE) for part in bases.values()]
        variants = [_scores(part, CONNECTIONS) for part in bases.values()]
        places = ", ".join(
            f"{base} {1 + int((others > one[0]).sum())} of {len(others) + 1}"
            for base, one, others in zip(bases, ones, variants, strict=True)
        )
        note = f"places: {places}; as if bases and their variants were drawn again"
        return Sample(superiority(ones, variants), len(cells), rows, note)

    effect = "mean share of its variants that a base surpasses"
    return Measure(name, effect, test, MOST, "share", grows="bases")


def _scores(cells: Any, kind: str) -> np.ndarray:
    return cells[cells["kind"] == kind]["score"].to_numpy(dtype=float)


def ahead_of(
    source: Source,
    column: str,
    name: str,
    *,
    base: str,
    one: str,
    rivals: Sequence[str],
    rises: bool = True,
    ahead: bool = True,
) -> Measure:
    """Return the measure of one named cell against others: does it surpass them all?

    Args:
        source: Of the trials.
        column: Of the values.
        name: Of the measure.
        base: Of all the cells.
        one: Name of the cell.
        rivals: Names of the others; those that were not trained are left out.
        rises: Whether it is first with the most of the value, or with the least.
        ahead: Whether the claim is that it is first, or that it is not.
    """

    def test(population: Population) -> Sample | None:
        rows: Any = source(population)
        if rows.empty:
            return None
        rows = rows[(rows["base"] == base) & rows["variant"].isin([one, *rivals])]
        runs = runs_of(rows, column, 1 if rises else -1)
        others = [runs[rival] for rival in rivals if rival in runs]
        if one not in runs or not others:
            return None
        found = first(runs[one], others)
        if np.isnan(found.value):
            return None
        return Sample(found if ahead else found.turned(), len(others) + 1, rows)

    rival = "its closest rival" if len(rivals) > 1 else rivals[0]
    effect = f"P({one} surpasses {rival})" if ahead else f"P(a rival surpasses {one})"
    return Measure(name, effect, test, MOST, "share", grows="seeds")


def runs_of(rows: Any, column: str, sign: float = 1.0) -> dict[str, Runs]:
    """Return the values of each variant's runs by setting and rate, empty where it has none."""
    rows = rows[rows[column].notna()]
    if rows.empty:
        return {}
    groups = rows.groupby(GROUP).ngroup().to_numpy()
    values, names = sign * rows[column].to_numpy(dtype=float), rows["variant"].to_numpy()
    places = range(groups.max() + 1)
    return {
        name: [values[(names == name) & (groups == place)] for place in places]
        for name in dict.fromkeys(names)
    }
