"""Claims about training: convergence, bases, learning rates and operations (Section 4.1)."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import (
    BASE,
    CELL,
    CONNECTIONS,
    GROUP,
    OPERATIONS,
    STANDARD_RATE,
    score_cells,
    worst,
)
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Measure, Sample
from orchestrator.paper.claims.measures import (
    AREA,
    FINAL,
    MOST,
    RHO,
    Values,
    among_variants,
    trend_over,
    trends_over,
)
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.association import trend
from orchestrator.paper.statistics.comparison import odds_ratio, share

_FIG9 = ("experiments/fig9.yaml",)
_CURVES = "Section 4.1, Figures 3 and 13 to 16"
_VARIANTS = "connection variants of a base, trained"
_BASES = "bases and connection variants of them, trained"
_LONG = " for over 30 epochs"


def _distances(population: Population) -> pd.DataFrame:
    """Return trials with the mean distance of each one's curve from its base's mean curve."""
    trials: Any = population.at_rate()
    rows = trials[trials["kind"].isin([BASE, CONNECTIONS])].reset_index(drop=True)
    curves: Any = population.curves.pivot(index="trial_id", columns="epoch", values="test_accuracy")
    own = curves.reindex(rows["trial_id"]).to_numpy(dtype=float)
    far = np.full(len(rows), np.nan)
    for places in rows.groupby(GROUP).indices.values():
        part = rows.iloc[places]
        bases = places[((part["kind"] == BASE) & (part["status"] == "done")).to_numpy()]
        if len(bases):
            apart = pd.DataFrame(np.abs(own[places] - own[bases].mean(axis=0)))
            lost = (part["status"] == "diverged").to_numpy()
            far[places] = np.where(lost, worst(rises=False), apart.mean(axis=1))
    return rows.assign(distance=far)


_BEGINNING = Values("area_10", "mean test accuracy over the first 10 % of epochs")
_TO_50, _TO_90, _TO_95 = (
    Values(f"epochs_{share}", f"epochs to {share} % of the base's final accuracy", False)
    for share in (50, 90, 95)
)
_JITTER = Values(
    "jitter",
    "mean second difference of test accuracy over epochs 100 to 300 of 600, or that share",
    False,
)
_DISTANCE = Values(
    "distance",
    "mean distance of the test accuracy from the base's, over all epochs",
    False,
    _distances,
)

_on_both = partial(Claim, source=_CURVES, launch=_FIG9, datasets=BOTH_CIFARS)
_on_cifar10 = partial(Claim, launch=_FIG9, datasets=CIFAR10)

_CURVE_CLAIMS = (
    *(
        _on_both(
            f"{word}-{what}",
            f"{word.capitalize()} cells converge {more}.",
            family="convergence",
            measures=trends_over(trait, *values),
            needs=_VARIANTS + long,
        )
        for what, more, values, long in (
            ("faster", "faster", (AREA, _BEGINNING, _TO_50, _TO_90, _TO_95), ""),
            ("stabler", "more stably", (_JITTER,), _LONG),
        )
        for word, trait in (("wider", "width"), ("shallower", "shallowness"))
    ),
    _on_cifar10(
        "variants-approach-base",
        "Variants approach the base as they widen.",
        "Section B.2, Figures 13 to 16",
        "convergence",
        trends_over("width", _DISTANCE),
        "a base and connection variants of it, trained",
    ),
    _on_both(
        "base-fastest",
        "Bases converge faster than their variants.",
        family="bases",
        measures=(among_variants(AREA),),
        needs=_BASES,
    ),
    _on_both(
        "base-stablest",
        "Bases converge more stably than their variants.",
        family="bases",
        measures=(among_variants(_JITTER),),
        needs=_BASES + _LONG,
    ),
    # Bases that surpass most variants are competitive, those that most variants surpass are not.
    # Neither version of the paper says that bases generalise better.
    _on_cifar10(
        "bases-competitive",
        "Bases have test accuracies competitive with those of most of their variants.",
        "Section 5, Figure 9",
        "bases",
        (among_variants(FINAL),),
        _BASES,
    ),
)


HIGH_RATE, LOW_RATE = 0.25, 0.0025
"""The two other rates of Figure 4."""

_FAILING = 0.5
"""Share of the base's final accuracy at the usual rate below which a trial has failed."""


def _with_failures(population: Population) -> pd.DataFrame:
    """Return the trials at the high rate, with a column `failed`.

    Where the base was not trained at the usual rate, its best final accuracy at any rate counts. A
    trial that ended, without such a base to be held against, is left out.
    """
    rows: Any = population.at_rate(HIGH_RATE)
    trials: Any = population.trials
    bases = trials[(trials["kind"] == BASE) & (trials["status"] == "done")]
    usual = bases[np.isclose(bases["learning_rate"], STANDARD_RATE)]
    keys = ["base", "setting"]
    means = usual.groupby(keys)["test_accuracy"].mean()
    best = bases.groupby(keys)["test_accuracy"].max()
    reference = means.combine_first(best).rename("reference").reset_index()
    rows = rows.merge(reference, on=keys, how="left")
    accuracy, lost = rows["test_accuracy"], rows["status"] == "diverged"
    low = accuracy < _FAILING * rows["reference"]
    return rows.assign(failed=lost | low)[lost | (accuracy - rows["reference"]).notna()]


def _gains(population: Population) -> pd.DataFrame:
    """Return trials at the high rate, with what each cell's beginning gains from the usual rate."""
    high, usual = (population.at_rate(rate) for rate in (HIGH_RATE, STANDARD_RATE))
    keys = [*CELL, "setting"]
    means: Any = usual.groupby(keys, as_index=False)["area_20"].mean()
    rows = high.merge(means.rename(columns={"area_20": "usual"}), on=keys)
    lost, before = np.isneginf(rows["area_20"]), np.isneginf(rows["usual"])
    with np.errstate(invalid="ignore"):
        gain = rows["area_20"] - rows["usual"]
    # Lost at both rates is no change; at the high one alone it is the worst there is.
    return rows.assign(gain=gain.mask(lost & before, 0.0).mask(lost & ~before, worst(rises=True)))


def _failures(population: Population) -> Sample | None:
    """Compare the narrower with the wider half of each base's variants."""
    rows: Any = _with_failures(population)
    rows = rows[rows["kind"] == CONNECTIONS]
    counts = failures_by_half(rows).to_numpy()
    if not len(counts):
        return None
    narrow, well, wide, wide_well = counts.sum(axis=0)
    of, others = narrow + well, wide + wide_well
    note = f"{narrow} of {of} narrow and {wide} of {others} wide cells fail"
    return Sample(odds_ratio(list(map(tuple, counts.tolist()))), of + others, rows, note)


def failures_by_half(rows: pd.DataFrame) -> pd.DataFrame:
    """Return for each base how many narrow cells fail and do not, then how many wide ones.

    A cell fails if half of its trials do; those of median width are of neither half.
    """
    grouped: Any = rows.groupby(CELL)[["failed", "width"]]
    cells = grouped.mean().reset_index().assign(failed=lambda part: part["failed"] >= 0.5)
    middle = cells.groupby("base")["width"].transform("median")
    halves = [cells[cells["width"] < middle], cells[cells["width"] > middle]]
    counts = [half.groupby("base")["failed"].agg(["sum", "count"]) for half in halves]
    both: Any = pd.concat(counts, axis=1, join="inner", keys=["narrow", "wide"]).astype(int)
    for half in ("narrow", "wide"):
        both[half, "count"] -= both[half, "sum"]
    return both


_THIRD = "CONN3"
"""C3 of the main text: the narrowest and deepest variant of DARTS there."""


def _third_fails(population: Population) -> Sample | None:
    rows: Any = _with_failures(population)
    rows = rows[(rows["base"] == "DARTS") & (rows["variant"] == _THIRD)]
    if rows.empty:
        return None
    parts = [(name, part["failed"]) for name, part in rows.groupby("dataset")]
    note = ", ".join(f"{int(f.sum())} of {len(f)} runs on {name}" for name, f in parts)
    return Sample(share(int(rows["failed"].sum()), len(rows)), 1, rows, note)


_ORDER = [_THIRD, "CONN1", "DARTS"]


def _order(column: str, population: Population) -> Sample | None:
    rows: Any = population.at_rate(LOW_RATE)
    rows = rows[(rows["base"] == "DARTS") & rows["variant"].isin(_ORDER)]
    # A block is a run of all three: what is ranked within has a seed and a data set in common.
    rows = rows.assign(block=rows["setting"] + "\n" + rows["seed"].astype(str))
    rows = rows[rows.groupby("block")["variant"].transform("nunique") == len(_ORDER)]
    values = rows.drop_duplicates(["block", "variant"])
    found = trend(values["variant"].map(_ORDER.index), values[column], values["block"])
    return None if np.isnan(found.value) else Sample(found, len(_ORDER), rows)


_GAIN = Values("gain", f"change of {AREA.name} from rate 0.025 to 0.25", source=_gains)

_on_rates = partial(Claim, source="Section 4.1, Figure 4", family="rates", datasets=BOTH_CIFARS)
_GRID = ("experiments/more/grid.yaml",)
_FIG4 = ("experiments/fig4.yaml", "--set")

_RATE_CLAIMS = (
    _on_rates(
        "larger-at-high-rate",
        "The lead of wide cells is larger at rate 0.25.",
        measures=(trend_over("width", _GAIN),),
        needs="variants at rates 0.025 and 0.25",
        launch=_GRID,
    ),
    _on_rates(
        "narrow-fail-at-high-rate",
        "Narrow cells fail to converge at rate 0.25 more often than wide ones.",
        measures=(
            Measure(
                "cells that diverge or end below half of the base's accuracy, the narrower half of "
                "each base's variants against the wider",
                "odds ratio, common to bases",
                _failures,
                3.0,
                "odds",
            ),
        ),
        needs="variants at rate 0.25",
        launch=_GRID,
    ),
    _on_rates(
        "c3-fails-at-high-rate",
        "C3 of DARTS does not converge at rate 0.25, on either CIFAR.",
        measures=(
            Measure(
                "runs of C3 that diverge or end below half of the base's accuracy",
                "share of runs",
                _third_fails,
                MOST,
                "share",
                grows="seeds",
            ),
        ),
        needs="6 runs or more of C3 at rate 0.25",
        launch=(*_FIG4, "grid.seed=[0, 1, 2, 3]"),
    ),
    _on_rates(
        "order-at-low-rate",
        "At rate 0.0025 the order base, C1, C3 persists.",
        measures=tuple(
            Measure(
                values.name,
                "mean ρ with the stated order",
                partial(_order, values.column),
                smallest,
                grows="seeds",
            )
            for values, smallest in ((AREA, 0.5), (FINAL, np.nan))
        ),
        needs="2 runs or more of each at rate 0.0025, on both CIFARs",
        launch=(*_FIG4, "grid.seed=[0, 1]"),
    ),
)


_LEAST_VARIANTS = 8
"""Variants of each kind that a spread takes: distances from the median of fewer are too alike."""


def _spread(column: str, population: Population) -> Sample | None:
    """Compare the spread of connection variants with that of operation variants, by base."""
    rows: Any = population.at_rate()
    rows = rows[rows["kind"].isin([CONNECTIONS, OPERATIONS])]
    each: Any = distances_from_median(score_cells(rows, column))
    found = trend(each["kind"] == CONNECTIONS, each["distance"], each["base"])
    if np.isnan(found.value):
        return None
    return Sample(found, found.n, rows[rows["base"].isin(each["base"]) & rows[column].notna()])


def distances_from_median(cells: pd.DataFrame) -> pd.DataFrame:
    """Return cells with the distance of their score from the median of their base and kind.

    A kind with fewer cells would have smaller distances even if both spread alike. So the one that
    the median fixes is left out (Hines and Hines, 2000): of an odd number the cell that is the
    median, of an even one half of the pair around it, whose distances are equal, and the other's
    is √2 as large. Bases with few variants of a kind are left out.
    """
    groups = cells.groupby(["base", "kind"])["score"]
    sizes: Any = groups.transform("size")
    far: Any = cells.assign(distance=(cells["score"] - groups.transform("median")).abs())
    many = far[sizes >= _LEAST_VARIANTS]
    both = many.groupby("base")["kind"].transform("nunique") == 2
    place = many.groupby(["base", "kind"])["distance"].rank(method="first")
    of_pair = (place == 2) & (sizes[many.index] % 2 == 0)
    scaled = many["distance"].where(~of_pair, math.sqrt(2) * many["distance"])
    return many.assign(distance=scaled)[both & (place > 1)]


_ALIKE = Claim(
    "operations-alike",
    "Variants of the operations converge almost alike; the connections matter more.",
    "Section 4.1, Figures 5 and 12",
    "operations",
    tuple(
        Measure(
            f"distance of a variant's rank from the median of its kind, in {values.name}",
            "ρ with being a connection variant",
            partial(_spread, values.column),
            smallest,
        )
        for values, smallest in ((_TO_90, RHO), (AREA, np.nan))
    ),
    f"{_LEAST_VARIANTS} connection variants and as many operation variants of one base",
    ("experiments/fig9.yaml", "experiments/fig12.yaml"),
    CIFAR10,
)


CLAIMS = (*_CURVE_CLAIMS, *_RATE_CLAIMS, _ALIKE)
