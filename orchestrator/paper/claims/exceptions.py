"""What the paper's earlier version (E) saw and the final one leaves out (Sections 4.1 and 4.2).

E's variants of AmoebaNet and SNAS, C1 to C4, are the seeds 1 to 4 of the published sampler.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import LEFT_OUT
from orchestrator.paper.claims.cells import behind
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.claims.landscape import measured
from orchestrator.paper.claims.one_cell import RUN, above, first_of, runs_that
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.means import equivalent

C1, C2, C3, C4 = (f"seed {number}" for number in range(1, 5))
_DARTS = ("CONN1", "CONN2", "CONN3", "CONN4")
_ALIKE = 1.25
"""Ratio of deviations up to which cells count as alike."""


def _ends_best(claim: Claim, population: Population) -> list[Finding]:
    rows = population.at_rate()
    measure = "test accuracy after the last epoch"
    return first_of(
        claim, rows, "final", measure, base="DARTS", one="DARTS", rivals=_DARTS, rises=True
    )


def _narrowest_basin(claim: Claim, population: Population) -> list[Finding]:
    rows = measured(population, "contour", "radius", rises=True)
    others = ("AmoebaNet", C1, C3, C4)
    measure = "smallest radius of twofold loss"
    return first_of(
        claim, rows, "value", measure, base="AmoebaNet", one=C2, rivals=others, rises=False
    )


def _largest_variance(claim: Claim, population: Population) -> list[Finding]:
    rows = measured(population, "gradient_variance", "deviation", rises=False)
    others = ("AmoebaNet", C1, C3, C4)
    measure = "largest √g at the centre"
    return first_of(
        claim, rows, "value", measure, base="AmoebaNet", one=C2, rivals=others, rises=True
    )


def _not_least(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = measured(population, "gradient_variance", "deviation", rises=False)
    if rows.empty:
        return []
    names = ("AmoebaNet", C1, C2, C3, C4)
    used = rows[(rows["base"] == "AmoebaNet") & rows["variant"].isin(names)]
    wide = used.pivot_table(index=RUN, columns="variant", values="value", aggfunc="first")
    if "AmoebaNet" not in wide or wide.shape[1] < 2:
        return []
    wide = wide[wide["AmoebaNet"].notna()]
    so = (wide.drop(columns="AmoebaNet").min(axis=1) < wide["AmoebaNet"]).to_numpy()
    return runs_that(claim, so, "runs in which a variant has a smaller √g", used, wide.shape[1])


def _out_of_line(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = measured(population, "contour", "radius", rises=True)
    if rows.empty:
        return []
    names = ("AmoebaNet", C1, C2, C3, C4)
    rows = rows[(rows["base"] == "AmoebaNet") & rows["variant"].isin(names)]
    rows = rows[np.isfinite(rows["value"])]
    parts = [_residuals(part) for _, part in rows.groupby(RUN) if len(part) > 2]
    if not parts:
        return []
    measure = "largest distance of the radius from the line over width"
    return first_of(
        claim,
        pd.concat(parts),
        "apart",
        measure,
        base="AmoebaNet",
        one=C4,
        rivals=tuple(name for name in names if name != C4),
        rises=True,
    )


def _residuals(part: Any) -> pd.DataFrame:
    width, radius = (part[name].to_numpy(dtype=float) for name in ("width", "value"))
    design = np.column_stack([np.ones(len(width)), width])
    line = design @ np.linalg.lstsq(design, radius, rcond=None)[0]
    return part.assign(apart=np.abs(radius - line))


def _smoother_than_base(claim: Claim, population: Population) -> list[Finding]:
    found = []
    for column, measure, rises in (
        ("radius", "runs in which C3 has the larger radius of twofold loss", True),
        ("roughness", "runs in which C3 is less rough", False),
    ):
        rows = measured(population, "contour", column, rises=rises)
        found += above(
            claim,
            rows,
            "value",
            measure,
            base="SNAS",
            one=C3,
            other="SNAS",
            rises=rises,
            primary=column == "radius",
        )
    return found


def _equal_variance(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = measured(population, "gradient_variance", "deviation", rises=False)
    if rows.empty:
        return []
    used = rows[(rows["base"] == "SNAS") & rows["variant"].isin(("SNAS", C1, C2, C3, C4))]
    wide: Any = used.pivot_table(index=RUN, columns="variant", values="value", aggfunc="first")
    if "SNAS" not in wide:
        return []
    logs = np.log(wide.where(np.isfinite(wide) & (wide > 0)))
    ratios = logs.drop(columns="SNAS").sub(logs["SNAS"], axis=0).mean().dropna()
    if len(ratios) < 2:
        return []
    return [
        claim.finding(
            "√g at the centre of each variant over the base's, run by run",
            "two one-sided t-tests over variants",
            "mean ratio",
            equivalent(ratios.to_numpy(dtype=float), math.log(_ALIKE)).on_scale(math.exp),
            power_at="a ratio of 1",
            cells=len(ratios) + 1,
            diverged_as=LEFT_OUT,
            **behind(used),
        )
    ]


_RUNS = "its places among {} in {}, run by run, exact"
_AMOEBA, _SNAS = (f"{base} and its seeds 1 to 4" for base in ("AmoebaNet", "SNAS"))
_LAUNCH = " (launch experiments/early/early-fig{}.yaml)"
_CONTOURS = "contours of {}" + _LAUNCH
_VARIANCES = "gradient variances of {}" + _LAUNCH

CLAIMS = tuple(
    Claim(
        name,
        statement,
        source,
        statistic,
        needs,
        "exceptions",
        test,
        BOTH_CIFARS if name == "darts-ends-best" else CIFAR10,
    )
    for name, statement, source, statistic, needs, test in (
        (
            "darts-ends-best",
            "DARTS ends best of itself and its four variants.",
            "E, Section 4.1, Figure 3",
            _RUNS.format("the five", "final test accuracy"),
            "DARTS and its variants of the main text (launch experiments/fig3.yaml)",
            _ends_best,
        ),
        (
            "c2-amoebanet-narrowest",
            "C2 of AmoebaNet has the narrowest basin.",
            "E, Section 4.2.1, Figure 14",
            _RUNS.format("the five", "radius"),
            _CONTOURS.format(_AMOEBA, 14),
            _narrowest_basin,
        ),
        (
            "c4-amoebanet-exceptional",
            "C4 of AmoebaNet is an exception to the pattern.",
            "E, Section 4.2.1, Figure 14",
            _RUNS.format("the five", "distance of the radius from the line over width"),
            _CONTOURS.format(_AMOEBA, 14),
            _out_of_line,
        ),
        (
            "c2-amoebanet-largest-variance",
            "C2 of AmoebaNet has by far the largest gradient variance.",
            "E, Section 4.2.2, Figure 16",
            _RUNS.format("the five", "√g"),
            _VARIANCES.format(_AMOEBA, 16),
            _largest_variance,
        ),
        (
            "amoebanet-not-least-variance",
            "AmoebaNet's own gradient variance is not the smallest.",
            "E, Section 4.2.2, Figure 16",
            "share of runs in which a variant has a smaller √g, exact binomial",
            _VARIANCES.format(_AMOEBA, 16),
            _not_least,
        ),
        (
            "c3-snas-smoother",
            "C3 of SNAS is smoother and wider-basined than SNAS.",
            "E, Section 4.2.1, Figure 15",
            "share of runs in which it has the larger radius, and in which it is less rough",
            _CONTOURS.format(_SNAS, 15),
            _smoother_than_base,
        ),
        (
            "snas-variances-equal",
            "SNAS and its variants have nearly equal gradient variances.",
            "E, Section 4.2.2, Figure 17",
            "equivalence of the ratio of √g with 1, up to a factor of 1.25",
            _VARIANCES.format(_SNAS, 17),
            _equal_variance,
        ),
    )
)
