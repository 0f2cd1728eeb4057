"""Claims about final accuracy: over width, of variants against their base, of adapted cells."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import (
    ADAPTED,
    AS_ZERO,
    BASE,
    CELL,
    CONNECTIONS,
    GROUP,
    counted_accuracies,
    with_base,
)
from orchestrator.paper.claims.claim import CIFAR10, Claim, Measure, Sample
from orchestrator.paper.claims.measures import (
    FINAL,
    among_variants,
    peak_over_width,
    runs_of,
    trend_over,
)
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import best_lead, contrasts, mean

_FIG9 = "experiments/fig9.yaml"

POINTS = 0.5
"""The smallest difference of accuracies or errors of interest, in percentage points."""


def counted(population: Population) -> pd.DataFrame:
    """Return the trials at the usual rate with the `accuracy` that each counts with, in percent."""
    rows: Any = population.at_rate()
    return rows.assign(accuracy=100 * counted_accuracies(rows, "final"))


def _lead(amoeba: bool, population: Population) -> Sample | None:
    """Compare the best variant with its base over seeds: AmoebaNet's, or the other bases'."""
    rows: Any = counted(population)
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
    cells = len(rows[CELL].drop_duplicates())
    note = "over seeds, corrected for all variants"
    return Sample(found.turned() if amoeba else found, cells, rows, note, AS_ZERO)


def _of_amoebanet(population: Population) -> pd.DataFrame:
    rows: Any = population.at_rate()
    return rows[rows["base"] == "AmoebaNet"]


def _lead_of(amoeba: bool, effect: str) -> Measure:
    test = partial(_lead, amoeba)
    return Measure(FINAL.name, f"{effect}, in points", test, POINTS, "points", grows="seeds")


_of_figure_9 = partial(
    Claim, source="Section 5, Figure 9", family="generalisation", datasets=CIFAR10
)
_SEEDS = (_FIG9, "--set", "grid.seed=[0, 1, 2]")

_FINAL = (
    _of_figure_9(
        "peak-at-middle",
        "Test accuracy peaks at an intermediate width.",
        measures=(peak_over_width(FINAL), trend_over("width", FINAL)),
        needs="connection variants of a base, trained",
        launch=(_FIG9,),
    ),
    _of_figure_9(
        "some-variants-beat-base",
        "Some variants generalise better than their base, AmoebaNet aside.",
        measures=(_lead_of(False, "lead of the best variant over its base"),),
        needs="bases and connection variants, trained with several seeds each",
        launch=_SEEDS,
    ),
    _of_figure_9(
        "none-beats-amoebanet",
        "No variant of AmoebaNet generalises better than AmoebaNet.",
        measures=(
            _lead_of(True, "lead of AmoebaNet over its best variant"),
            among_variants(FINAL._replace(source=_of_amoebanet)),
        ),
        needs="AmoebaNet and connection variants, trained with several seeds each",
        launch=_SEEDS,
    ),
)


_ENDING = "_ADAPT"


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


def _compare(dataset: str, sign: int, population: Population) -> Sample | None:
    """Compare the errors on a data set; adapted cells have the lower (sign 1) or higher (−1)."""
    rows: Any = population.trials
    # Whatever stands in for this dataset is of a scope of its own.
    rows = rows[(rows["named_dataset"] == dataset) & rows["kind"].isin([BASE, ADAPTED])]
    gains = sign * _gains(rows)
    if gains.empty:
        return None
    note = ", ".join(f"{base} {value:+.2f}" for base, value in gains.items()) + " points"
    used = rows[rows["base"].str.removesuffix(_ENDING).isin(gains.index)]
    return Sample(mean(gains.to_numpy(dtype=float)), 2 * len(gains), used, note, AS_ZERO)


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
                partial(_compare, dataset, sign),
                POINTS,
                "points",
                grows="bases",
            ),
        ),
        f"original and adapted cells on {dataset}",
        ("experiments/table1.yaml",),
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
