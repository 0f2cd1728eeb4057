"""Claims about loss landscapes and gradient variance (Section 4.2), and E's exceptions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import GROUP, LEFT_OUT, worst
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Measure, Sample
from orchestrator.paper.claims.measures import FINAL, ahead_of, at_rate, beside, over, runs_of
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import contrasts, largest_difference

RING = (0.35, 0.65)
"""Distances from the centre of points whose variance is averaged, as shares of the extent."""

_SMOOTH = (
    ("contour", "radius", "radius of twofold loss", True),
    ("contour", "rise_radius", "radius of a loss 1 nat above the centre's", True),
    ("contour", "convex", "share of the near-convex region", True),
    ("contour", "roughness", "mean second derivative of log loss", False),
    ("contour", "nonfinite", "share of points with infinite loss", False),
    ("curvature", "top_eigenvalue", "the Hessian's top eigenvalue", False),
)

_BOUNDED = {"radius": "bounded", "rise_radius": "rise_bounded"}
"""The column that holds whether a radius was reached."""


def measured(
    population: Population, kind: str, column: str, *, rises: bool, split: str = "test"
) -> pd.DataFrame:
    """Trials with a surface, and the mean of a column over its surfaces as `value`.

    Several pairs of directions are averaged within a trial before anything else. A trial that
    diverged has the worst value, with a surface of its last sound checkpoint or without one, if
    others of its base, setting and rate have some. A surface that was drawn on another extent than
    most is left out of what depends on that.

    Args:
        population: The trials.
        kind: Of the surfaces.
        column: Of `tables.SURFACES`, or "deviation" or "ring": √g at the centre, and its
            mean over points of a ring around it.
        rises: Whether more of it is better.
        split: Whose images it was measured on, where there is a choice; curvature has any.

    Returns:
        Rows of `Population.trials` with the column `value`.
    """
    found: Any = population.surfaces
    if found.empty:
        return pd.DataFrame()
    found = found[found["kind"] == kind]
    if kind != "curvature":
        found = found[found["split"].isin([split, ""])]
    # An earlier checkpoint is not the trained network.
    ends = population.curves.groupby("trial_id")["epoch"].max()
    found = found[found["epoch"] >= found["trial_id"].map(ends).astype(float)]
    if found.empty:
        return pd.DataFrame()
    if column == "deviation":
        values = np.sqrt(found["variance"].astype(float))
    elif column == "ring":
        values = found["surface_id"].map(_rings(population, found)).astype(float)
    else:
        values = found[column].astype(float)
    values = values.where(_comparable(found, column))
    last = worst(rises=rises)
    values = values.where(found["status"] != "diverged", last)
    means = values.groupby(found["trial_id"]).mean().rename("value")
    rows: Any = population.trials
    rows = rows.merge(means, left_on="trial_id", right_index=True, how="left")
    looked_at = rows.groupby(GROUP)["value"].transform("count") > 0
    lost = looked_at & (rows["status"] == "diverged")
    return rows.assign(value=rows["value"].mask(lost, last))[lost | rows["value"].notna()]


def _comparable(surfaces: Any, column: str) -> pd.Series:
    """Whether a surface's extent lets its number stand beside the others'."""
    if column in ("deviation", "top_eigenvalue"):
        return pd.Series(True, index=surfaces.index)
    extent = surfaces["extent"].astype(float).fillna(1.0)
    if column in _BOUNDED:
        # One that is not reached on a small plane might be the largest of all.
        unreached = surfaces[_BOUNDED[column]].map(lambda bounded: bounded is False)
        return ~(unreached & (extent < extent.max()))
    return extent == extent.mode()[0]


def _rings(population: Population, surfaces: Any) -> pd.Series:
    points: Any = population.points
    points = points[points["surface_id"].isin(surfaces["surface_id"])]
    extent = points["surface_id"].map(surfaces.set_index("surface_id")["extent"]).astype(float)
    reach = np.hypot(points["alpha"], points["beta"]) / extent.where(extent > 0)
    ring = points[reach.between(*RING)]
    # The mean of logs, since variances around a minimum differ by many powers of ten.
    logs = np.log10(ring["variance"].astype(float).clip(lower=1e-300)) / 2
    return logs.groupby(ring["surface_id"]).mean()


_RADIUS = partial(measured, kind="contour", column="radius", rises=True)
_DEVIATION = partial(measured, kind="gradient_variance", column="deviation", rises=False)
_AT_CENTRE = "√g at the centre"


def _over_width(kind: str, column: str, name: str, rises: bool) -> Measure:
    source = partial(measured, kind=kind, column=column, rises=rises)
    return over("width", source, "value", name, rises=rises)


CLAIMS = (
    Claim(
        "wider-smoother",
        "Wider cells have a smoother loss landscape.",
        "Section 4.2.1, Figures 6 and 17 to 20",
        "landscape",
        (
            *(_over_width(*each) for each in _SMOOTH),
            *beside("width", _RADIUS, "value", "radius of twofold loss"),
        ),
        "contours of connection variants",
        ("experiments/fig17.yaml",),
        CIFAR10,
    ),
    Claim(
        "wider-less-variance",
        "Wider cells have a smaller gradient variance.",
        "Section 4.2.2, Figures 7, 8 and 21 to 24",
        "landscape",
        (
            _over_width("gradient_variance", "deviation", _AT_CENTRE, False),
            _over_width(
                "gradient_variance", "ring", "mean of log √g over a ring at half the extent", False
            ),
            *beside("width", _DEVIATION, "value", _AT_CENTRE, rises=False),
        ),
        "gradient variances of connection variants",
        ("experiments/fig22.yaml",),
        BOTH_CIFARS,
    ),
)


C1, C2, C3, C4 = (f"seed {number}" for number in range(1, 5))
_DARTS = ("CONN1", "CONN2", "CONN3", "CONN4")
_RADIUS_NAME = "radius of twofold loss"
_ALIKE = 1.25
"""Ratio of deviations up to which cells count as alike."""


def _off_the_line(population: Population) -> pd.DataFrame:
    """Return AmoebaNet's trials of E with their distance from the line of radius over width."""
    rows: Any = _RADIUS(population)
    if rows.empty:
        return rows
    rows = rows[(rows["base"] == "AmoebaNet") & rows["variant"].isin(("AmoebaNet", C1, C2, C3, C4))]
    rows = rows[np.isfinite(rows["value"])]
    parts = [part for _, part in rows.groupby(["setting", "learning_rate", "seed"])]
    lines = [_residuals(part) for part in parts if len(part) > 2]
    return pd.concat(lines) if lines else rows.iloc[:0]


def _residuals(part: Any) -> pd.DataFrame:
    width, radius = (part[name].to_numpy(dtype=float) for name in ("width", "value"))
    design = np.column_stack([np.ones(len(width)), width])
    hat = design @ np.linalg.pinv(design)
    # Cells at the ends of the line draw it towards themselves, which the scale makes up for.
    free = np.clip(1 - np.diag(hat), 1e-9, None)
    return part.assign(apart=np.abs(radius - hat @ radius) / np.sqrt(free))


def _equal_variance(population: Population) -> Sample | None:
    rows: Any = _DEVIATION(population)
    if rows.empty:
        return None
    rows = rows[(rows["base"] == "SNAS") & rows["variant"].isin(("SNAS", C1, C2, C3, C4))]
    rows = rows[np.isfinite(rows["value"]) & (rows["value"] > 0)]
    runs = runs_of(rows.assign(log=np.log(rows["value"])), "log")
    others = [runs[name] for name in runs if name != "SNAS"]
    every = contrasts(runs["SNAS"], others) if "SNAS" in runs else []
    if not every:
        return None
    found = largest_difference(every, math.log(_ALIKE)).on_scale(math.exp)
    return Sample(found, len(runs), rows, diverged_as=LEFT_OUT)


_AMOEBA, _SNAS = (
    f"{base} and its seeds 1 to 4, 6 runs or more of each" for base in ("AmoebaNet", "SNAS")
)
_SIX = "grid.seed=[0, 1, 2, 3, 4, 5]"


def _rivals(names: Sequence[str], one: str) -> tuple[str, ...]:
    return tuple(name for name in names if name != one)


_FIVE = ("AmoebaNet", C1, C2, C3, C4)

EARLY_CLAIMS = tuple(
    Claim(
        name,
        statement,
        source,
        "exceptions",
        measures,
        needs,
        (f"experiments/{file}.yaml", "--set", _SIX if file != "fig3" else "grid.seed=[0, 1, 2]"),
        BOTH_CIFARS if file == "fig3" else CIFAR10,
    )
    for name, statement, source, measures, needs, file in (
        (
            "darts-ends-best",
            "DARTS ends best of itself and its four variants.",
            "E, Section 4.1, Figure 3",
            (ahead_of(at_rate, "final", FINAL, base="DARTS", one="DARTS", rivals=_DARTS),),
            "DARTS and its variants of the main text, 3 runs or more of each on both CIFARs",
            "fig3",
        ),
        (
            "c2-amoebanet-narrowest",
            "C2 of AmoebaNet has the narrowest basin.",
            "E, Section 4.2.1, Figure 14",
            (
                ahead_of(
                    _RADIUS, "value", f"smallest {_RADIUS_NAME}", base="AmoebaNet", one=C2,
                    rivals=_rivals(_FIVE, C2), rises=False,
                ),
            ),
            f"contours of {_AMOEBA}",
            "early/early-fig14",
        ),
        (
            "c4-amoebanet-exceptional",
            "C4 of AmoebaNet is an exception to the pattern.",
            "E, Section 4.2.1, Figure 14",
            (
                ahead_of(
                    _off_the_line, "apart", f"largest distance of the {_RADIUS_NAME} from its line "
                    "over width", base="AmoebaNet", one=C4, rivals=_rivals(_FIVE, C4),
                ),
            ),
            f"contours of {_AMOEBA}",
            "early/early-fig14",
        ),
        (
            "c2-amoebanet-largest-variance",
            "C2 of AmoebaNet has by far the largest gradient variance.",
            "E, Section 4.2.2, Figure 16",
            (
                ahead_of(
                    _DEVIATION, "value", f"largest {_AT_CENTRE}", base="AmoebaNet", one=C2,
                    rivals=_rivals(_FIVE, C2),
                ),
            ),
            f"gradient variances of {_AMOEBA}",
            "early/early-fig16",
        ),
        (
            "amoebanet-not-least-variance",
            "AmoebaNet's own gradient variance is not the smallest.",
            "E, Section 4.2.2, Figure 16",
            (
                ahead_of(
                    _DEVIATION, "value", f"smallest {_AT_CENTRE}", base="AmoebaNet",
                    one="AmoebaNet", rivals=_rivals(_FIVE, "AmoebaNet"), rises=False, ahead=False,
                ),
            ),
            f"gradient variances of {_AMOEBA}",
            "early/early-fig16",
        ),
        (
            "c3-snas-smoother",
            "C3 of SNAS is smoother and wider-basined than SNAS.",
            "E, Section 4.2.1, Figure 15",
            (
                ahead_of(_RADIUS, "value", _RADIUS_NAME, base="SNAS", one=C3, rivals=("SNAS",)),
                ahead_of(
                    partial(measured, kind="contour", column="roughness", rises=False), "value",
                    "least mean second derivative of log loss", base="SNAS", one=C3,
                    rivals=("SNAS",), rises=False,
                ),
            ),
            f"contours of {_SNAS}",
            "early/early-fig15",
        ),
        (
            "snas-variances-equal",
            "SNAS and its variants have nearly equal gradient variances.",
            "E, Section 4.2.2, Figure 17",
            (
                Measure(
                    f"{_AT_CENTRE} of each variant over the base's",
                    f"largest ratio of means, either way, against {_ALIKE}",
                    _equal_variance, scale="ratio", equality=True,
                ),
            ),
            f"gradient variances of {_SNAS}",
            "early/early-fig17",
        ),
    )
)  # fmt: skip
