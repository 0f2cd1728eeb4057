"""Claims about final accuracy: over width, of variants against their base, of adapted cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import (
    ADAPTED,
    AS_ZERO,
    BASE,
    CONNECTIONS,
    GROUP,
    counted_accuracies,
    with_base,
)
from orchestrator.paper.claims.claim import CIFAR10, Claim, Measure, Sample
from orchestrator.paper.claims.measures import (
    FINAL,
    among_variants,
    at_rate,
    over,
    peak_over,
    runs_of,
)
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import best_lead, contrasts, mean

_FIG9 = "experiments/fig9.yaml"
_SEEDS = (_FIG9, "--set", "grid.seed=[0, 1, 2]")
_SEVERAL = "{} and connection variants, trained with several seeds each"

POINTS = 0.5
"""The smallest difference of accuracies or errors of interest, in percentage points."""


def counted(population: Population) -> pd.DataFrame:
    """Return the trials at the usual rate with the `accuracy` that each counts with, in percent."""
    rows: Any = population.at_rate()
    return rows if rows.empty else rows.assign(accuracy=100 * counted_accuracies(rows, "final"))


def _lead(*, amoeba: bool) -> Any:
    """Compare the best variant with its base over seeds: AmoebaNet's, or the other bases'."""

    def test(population: Population) -> Sample | None:
        rows: Any = counted(population)
        if rows.empty:
            return None
        rows = with_base(rows[(rows["base"] == "AmoebaNet") == amoeba], "accuracy")
        sets = []
        for _, part in rows.groupby("base"):
            runs = runs_of(part, "accuracy")
            base = part[part["kind"] == BASE]["variant"].iloc[0]
            variants = part[part["kind"] == CONNECTIONS]["variant"].unique()
            sets.append(contrasts(runs[base], [runs[name] for name in variants]))
        found = best_lead(sets)
        if np.isnan(found.value):
            return None
        cells = len(rows[["base", "variant"]].drop_duplicates())
        note = "over seeds, corrected for all variants"
        return Sample(found.turned() if amoeba else found, cells, rows, note, AS_ZERO)

    return test


_FINAL = (
    Claim(
        "peak-at-middle",
        "Test accuracy peaks at an intermediate width.",
        "Section 5, Figure 9",
        "generalisation",
        (peak_over("width", at_rate, "final", FINAL), over("width", at_rate, "final", FINAL)),
        "connection variants of a base, trained",
        (_FIG9,),
        CIFAR10,
    ),
    Claim(
        "some-variants-beat-base",
        "Some variants generalise better than their base, AmoebaNet aside.",
        "Section 5, Figure 9",
        "generalisation",
        (
            Measure(
                FINAL,
                "lead of the best variant over its base, in points",
                _lead(amoeba=False),
                POINTS,
                "points",
                grows="seeds",
            ),
        ),
        _SEVERAL.format("bases"),
        _SEEDS,
        CIFAR10,
    ),
    Claim(
        "none-beats-amoebanet",
        "No variant of AmoebaNet generalises better than AmoebaNet.",
        "Section 5, Figure 9",
        "generalisation",
        (
            Measure(
                FINAL,
                "lead of AmoebaNet over its best variant, in points",
                _lead(amoeba=True),
                POINTS,
                "points",
                grows="seeds",
            ),
            among_variants(lambda population: _of_amoebanet(population.at_rate()), "final", FINAL),
        ),
        _SEVERAL.format("AmoebaNet"),
        _SEEDS,
        CIFAR10,
    ),
)


def _of_amoebanet(rows: Any) -> Any:
    return rows if rows.empty else rows[rows["base"] == "AmoebaNet"]


_ENDING = "_ADAPT"
_TABLE1 = ("experiments/table1.yaml",)


def _gains(rows: pd.DataFrame) -> pd.Series:
    """Return by architecture how much the adapted cell's error is below the original's, in points.

    Seeds are averaged for each, as unequal numbers of them are; settings that have both then are.
    """
    rows = rows.assign(accuracy=100 * counted_accuracies(rows))
    means: Any = rows.groupby([*GROUP, "kind"], as_index=False)["accuracy"].mean()
    means["base"] = means["base"].str.removesuffix(_ENDING)
    wide = means.pivot(index=GROUP, columns="kind", values="accuracy")
    wide = wide.reindex(columns=[BASE, ADAPTED]).dropna()
    return (wide[ADAPTED] - wide[BASE]).groupby("base").mean()


def _compare(dataset: str, sign: int) -> Any:
    """Compare the errors on a data set; adapted cells have the lower (sign 1) or higher (−1)."""

    def test(population: Population) -> Sample | None:
        rows: Any = population.trials
        if rows.empty:
            return None
        # Whatever stands in for this dataset is of a scope of its own.
        rows = rows[(rows["named_dataset"] == dataset) & rows["kind"].isin([BASE, ADAPTED])]
        gains = sign * _gains(rows) if len(rows) else pd.Series(dtype=float)
        if gains.empty:
            return None
        note = ", ".join(f"{base} {value:+.2f}" for base, value in gains.items()) + " points"
        used = rows[rows["base"].str.removesuffix(_ENDING).isin(gains.index)]
        found = mean(gains.to_numpy(dtype=float))
        return Sample(found, 2 * len(gains), used, note, AS_ZERO)

    return test


_ADAPTED_CELLS = tuple(
    Claim(
        f"adapted-{word}-{dataset.replace('_', '-')}",
        f"Adapted cells have {more} error on {name}.",
        "Section 5, Table 1",
        "adapted",
        (
            Measure(
                "error of each architecture's adapted cell less that of its original",
                f"mean {'reduction' if sign > 0 else 'increase'} of the error, in points",
                _compare(dataset, sign),
                POINTS,
                "points",
                grows="bases",
            ),
        ),
        f"original and adapted cells on {dataset}",
        _TABLE1,
        (dataset,),
        "table1",
    )
    for dataset, name, word, more, sign in (
        ("cifar100", "CIFAR-100", "better", "a lower", 1),
        ("cifar10", "CIFAR-10", "worse", "mostly a higher", -1),
        ("tiny_imagenet", "Tiny-ImageNet", "worse", "mostly a higher", -1),
    )
)

CLAIMS = (*_FINAL, *_ADAPTED_CELLS)
