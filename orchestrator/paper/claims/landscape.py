"""Wider cells have smoother landscapes and less gradient variance (Section 4.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import worst
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Finding
from orchestrator.paper.claims.convergence import JONCKHEERE, trend
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.scores import GROUP

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


def _smoother(claim: Claim, population: Population) -> list[Finding]:
    found = []
    for kind, column, measure, rises in _SMOOTH:
        rows = measured(population, kind, column, rises=rises)
        found += _trends(claim, rows, measure, rises, main=column == "radius")
    return found


def _less_variance(claim: Claim, population: Population) -> list[Finding]:
    found = []
    for column, measure in (
        ("deviation", "√g at the centre"),
        ("ring", "mean of log √g over a ring at half the extent"),
    ):
        rows = measured(population, "gradient_variance", column, rises=False)
        found += _trends(claim, rows, measure, False, main=column == "deviation")
    return found


def _trends(claim: Claim, rows: Any, measure: str, rises: bool, *, main: bool) -> list[Finding]:
    """Over width; of a claim's main measure by Jonckheere's test too."""
    found = trend(claim, rows, "value", measure, rises=rises, primary=main)
    if main:
        found += trend(claim, rows, "value", measure, rises=rises, how=JONCKHEERE, primary=False)
    return found


CLAIMS = (
    Claim(
        "wider-smoother",
        "Wider cells have a smoother loss landscape.",
        "Section 4.2.1, Figures 6 and 17 to 20",
        "Spearman's correlation of width with the radius of twofold loss; beside it the radius of "
        "a loss 1 nat above the centre's, the near-convex share, roughness, infinite losses and "
        "the Hessian's top eigenvalue",
        "contours of connection variants (launch experiments/fig17.yaml)",
        "landscape",
        _smoother,
        CIFAR10,
    ),
    Claim(
        "wider-less-variance",
        "Wider cells have a smaller gradient variance.",
        "Section 4.2.2, Figures 7, 8 and 21 to 24",
        "Spearman's correlation of width with √g at the centre; beside it over a ring",
        "gradient variances of connection variants (launch experiments/fig22.yaml)",
        "landscape",
        _less_variance,
        BOTH_CIFARS,
    ),
)
