"""Claims about loss landscapes and gradient variance (Section 4.2), and E's exceptions."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import GROUP, LEFT_OUT, worst
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Measure, Sample
from orchestrator.paper.claims.measures import FINAL, Values, ahead_of, runs_of, trends_over
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import contrasts, largest_difference

RING = (0.35, 0.65)
"""Distances from the centre of points whose variance is averaged, as shares of the extent."""

_BOUNDED = {"radius": "bounded", "rise_radius": "rise_bounded"}
"""The column that holds whether a radius was reached."""


def measured(population: Population, kind: str, column: str, *, rises: bool) -> pd.DataFrame:
    """Return trials with a surface, and the mean of a column over its surfaces as `value`.

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

    Returns:
        Rows of `Population.trials` with the column `value`.
    """
    rows: Any = population.trials
    found: Any = population.surfaces
    found = found[found["kind"] == kind]
    if kind != "curvature":
        found = found[found["split"].isin(["test", ""])]
    # An earlier checkpoint is not the trained network.
    ends = population.curves.groupby("trial_id")["epoch"].max()
    found = found[found["epoch"] >= found["trial_id"].map(ends).astype(float)]
    if found.empty:
        return rows.iloc[:0].assign(value=math.nan)
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
    rows = rows.merge(means, left_on="trial_id", right_index=True, how="left")
    looked_at = rows.groupby(GROUP)["value"].transform("count") > 0
    lost = looked_at & (rows["status"] == "diverged")
    return rows.assign(value=rows["value"].mask(lost, last))[lost | rows["value"].notna()]


def _comparable(surfaces: Any, column: str) -> pd.Series:
    """Return whether each surface's extent lets its number stand beside the others'."""
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


def _of_surfaces(kind: str, column: str, name: str, rises: bool) -> Values:
    source = partial(measured, kind=kind, column=column, rises=rises)
    return Values("value", name, rises, source)


_RADIUS = _of_surfaces("contour", "radius", "radius of twofold loss", True)
_ROUGHNESS = _of_surfaces("contour", "roughness", "mean second derivative of log loss", False)
_DEVIATION = _of_surfaces("gradient_variance", "deviation", "√g at the centre", False)

CLAIMS = (
    Claim(
        "wider-smoother",
        "Wider cells have a smoother loss landscape.",
        "Section 4.2.1, Figures 6 and 17 to 20",
        "landscape",
        trends_over(
            "width",
            _RADIUS,
            _of_surfaces(
                "contour", "rise_radius", "radius of a loss 1 nat above the centre's", True
            ),
            _of_surfaces("contour", "convex", "share of the near-convex region", True),
            _ROUGHNESS,
            _of_surfaces("contour", "nonfinite", "share of points with infinite loss", False),
            _of_surfaces("curvature", "top_eigenvalue", "the Hessian's top eigenvalue", False),
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
        trends_over(
            "width",
            _DEVIATION,
            _of_surfaces(
                "gradient_variance", "ring", "mean of log √g over a ring at half the extent", False
            ),
        ),
        "gradient variances of connection variants",
        ("experiments/fig22.yaml",),
        BOTH_CIFARS,
    ),
)


C1, C2, C3, C4 = (f"seed {number}" for number in range(1, 5))
_ALIKE = 1.25
"""Ratio of deviations up to which cells count as alike."""


def _off_the_line(population: Population) -> pd.DataFrame:
    """Return AmoebaNet's trials of E with their distance from the line of radius over width."""
    rows: Any = _RADIUS.source(population)
    rows = rows[(rows["base"] == "AmoebaNet") & rows["variant"].isin(("AmoebaNet", C1, C2, C3, C4))]
    rows = rows[np.isfinite(rows["value"])].assign(apart=math.nan)
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
    rows: Any = _DEVIATION.source(population)
    rows = rows[(rows["base"] == "SNAS") & rows["variant"].isin(("SNAS", C1, C2, C3, C4))]
    rows = rows[np.isfinite(rows["value"]) & (rows["value"] > 0)]
    runs = runs_of(rows.assign(log=np.log(rows["value"])), "log")
    others = [runs[name] for name in runs if name != "SNAS"]
    every = contrasts(runs["SNAS"], others) if "SNAS" in runs else []
    if not every:
        return None
    found = largest_difference(every, math.log(_ALIKE))
    ratios = {name: math.exp(getattr(found, name)) for name in ("value", "low", "high", "null")}
    return Sample(replace(found, **ratios), len(runs), rows, diverged_as=LEFT_OUT)


_OFF_THE_LINE = Values(
    "apart", f"distance of the {_RADIUS.name} from its line over width", source=_off_the_line
)


def _extreme(one: str, values: Values, *, largest: bool, ahead: bool = True) -> Measure:
    """Return the measure of a cell of AmoebaNet against the other four of E."""
    name = f"{'largest' if largest else 'smallest'} {values.name}"
    rivals = [rival for rival in ("AmoebaNet", C1, C2, C3, C4) if rival != one]
    extreme = values._replace(name=name, rises=largest)
    return ahead_of(extreme, one, rivals, base="AmoebaNet", ahead=ahead)


def _exception(name: str, statement: str, figure: int, base: str, *measures: Measure) -> Claim:
    section, looked_at = ("4.2.1", "contours") if figure < 16 else ("4.2.2", "gradient variances")
    return Claim(
        name,
        statement,
        f"E, Section {section}, Figure {figure}",
        "exceptions",
        measures,
        f"{looked_at} of {base} and its seeds 1 to 4, 6 runs or more of each",
        (f"experiments/early/early-fig{figure}.yaml", "--set", "grid.seed=[0, 1, 2, 3, 4, 5]"),
        CIFAR10,
    )


EARLY_CLAIMS = (
    Claim(
        "darts-ends-best",
        "DARTS ends best of itself and its four variants.",
        "E, Section 4.1, Figure 3",
        "exceptions",
        (ahead_of(FINAL, "DARTS", ("CONN1", "CONN2", "CONN3", "CONN4"), base="DARTS"),),
        "DARTS and its variants of the main text, 3 runs or more of each on both CIFARs",
        ("experiments/fig3.yaml", "--set", "grid.seed=[0, 1, 2]"),
        BOTH_CIFARS,
    ),
    _exception(
        "c2-amoebanet-narrowest",
        "C2 of AmoebaNet has the narrowest basin.",
        14,
        "AmoebaNet",
        _extreme(C2, _RADIUS, largest=False),
    ),
    _exception(
        "c4-amoebanet-exceptional",
        "C4 of AmoebaNet is an exception to the pattern.",
        14,
        "AmoebaNet",
        _extreme(C4, _OFF_THE_LINE, largest=True),
    ),
    _exception(
        "c2-amoebanet-largest-variance",
        "C2 of AmoebaNet has by far the largest gradient variance.",
        16,
        "AmoebaNet",
        _extreme(C2, _DEVIATION, largest=True),
    ),
    _exception(
        "amoebanet-not-least-variance",
        "AmoebaNet's own gradient variance is not the smallest.",
        16,
        "AmoebaNet",
        _extreme("AmoebaNet", _DEVIATION, largest=False, ahead=False),
    ),
    _exception(
        "c3-snas-smoother",
        "C3 of SNAS is smoother and wider-basined than SNAS.",
        15,
        "SNAS",
        *(
            ahead_of(values, C3, ("SNAS",), base="SNAS")
            for values in (_RADIUS, _ROUGHNESS._replace(name=f"least {_ROUGHNESS.name}"))
        ),
    ),
    _exception(
        "snas-variances-equal",
        "SNAS and its variants have nearly equal gradient variances.",
        17,
        "SNAS",
        Measure(
            f"{_DEVIATION.name} of each variant over the base's",
            f"largest ratio of means, either way, against {_ALIKE}",
            _equal_variance,
            scale="ratio",
            equality=True,
        ),
    ),
)
