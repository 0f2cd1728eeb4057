"""One cell against others: a base against its variants, and statements about a cell by name."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import LEFT_OUT
from orchestrator.paper.claims.claim import BOTH_CIFARS, CIFAR10, Claim, Finding
from orchestrator.paper.claims.landscape import measured
from orchestrator.paper.claims.population import BASE, CONNECTIONS, Population
from orchestrator.paper.claims.scores import behind, behind_scores, scores
from orchestrator.paper.statistics.samples import LEAD, OFTEN, equivalent, placing, share

STATISTIC = "exact sum of the bases' places among their variants"


def _leads(column: str, measure: str, rises: bool):
    def test(claim: Claim, population: Population) -> list[Finding]:
        trials: Any = population.at_rate()
        if trials.empty:
            return []
        rows = trials[trials["kind"].isin([BASE, CONNECTIONS])]
        # Ranked in settings that have the base and variants of it.
        rows = rows[rows.groupby(["base", "setting"])["kind"].transform("nunique") == 2]
        cells: Any = scores(rows, column, rises=rises)
        one, rivals, names = [], [], []
        for base, group in cells.groupby("base"):
            mine = group[group["kind"] == BASE]["score"].to_numpy()
            others = group[group["kind"] == CONNECTIONS]["score"].to_numpy(dtype=float)
            if len(mine) == 1 and len(others):
                names.append(base)
                one.append(float(mine[0]))
                rivals.append(others)
        if not one:
            return []
        found = placing(one, rivals)
        places = [1 + int((group > value).sum()) for value, group in zip(one, rivals, strict=True)]
        places_of = ", ".join(
            f"{name} {place} of {len(group) + 1}"
            for name, place, group in zip(names, places, rivals, strict=True)
        )
        return [
            claim.finding(
                measure,
                STATISTIC,
                "share of variants that the base surpasses",
                found,
                power_at=f"a lead of {LEAD:g} standard deviation",
                cells=len(one) + int(np.sum([len(group) for group in rivals])),
                reading=f"places: {places_of}",
                **behind_scores(cells, rows),
            )
        ]

    return test


_NEEDS = "a base and connection variants of it, trained (launch experiments/fig9.yaml)"
_PLACES = "places of the bases among their variants in {}, exact, each as likely by chance"

BASE_CLAIMS = (
    Claim(
        "base-fastest",
        "Bases converge faster than their variants.",
        "Section 4.1, Figures 3 and 13 to 16",
        _PLACES.format("mean test accuracy over the first 20 % of epochs"),
        _NEEDS,
        "bases",
        _leads("area_20", "mean test accuracy over the first 20 % of epochs", True),
        BOTH_CIFARS,
    ),
    Claim(
        "base-stablest",
        "Bases converge more stably than their variants.",
        "Section 4.1, Figures 3 and 13 to 16",
        _PLACES.format("jitter"),
        _NEEDS,
        "bases",
        _leads("jitter", "mean change of test accuracy between epochs mid-way", False),
        BOTH_CIFARS,
    ),
    Claim(
        "bases-competitive",
        "Bases have test accuracies competitive with those of most of their variants.",
        "Section 5, Figure 9",
        _PLACES.format("final test accuracy") + "; bases that surpass most variants are "
        "competitive, and those that most variants surpass are not. Neither version of the paper "
        "says that bases generalise better",
        _NEEDS,
        "bases",
        _leads("final", "test accuracy after the last epoch", True),
        CIFAR10,
    ),
)


RUN = ["setting", "learning_rate", "seed"]
"""Trials of which are compared: all else equal."""


def first_of(
    claim: Claim,
    rows: pd.DataFrame,
    column: str,
    measure: str,
    *,
    base: str,
    one: str,
    rivals: tuple[str, ...],
    rises: bool,
) -> list[Finding]:
    """Whether one cell has the best value among its rivals, run by run.

    Args:
        claim: What is tested.
        rows: Rows of `Population.trials`.
        column: The measure's.
        measure: Its name.
        base: Of all the cells.
        one: Name of the cell.
        rivals: Names of the others; runs without one of them at all are left out.
        rises: Whether more is better.
    """
    wide, used = _by_run(rows, column, base, (one, *rivals))
    if wide.empty or one not in wide:
        return []
    signed = wide if rises else -wide
    signed = signed[signed[one].notna() & (signed.notna().sum(axis=1) > 1)]
    if signed.empty:
        return []
    others = [row.drop(one).dropna().to_numpy(dtype=float) for _, row in signed.iterrows()]
    found = placing(signed[one].tolist(), others)
    firsts = sum(
        bool((values < mine).all()) for mine, values in zip(signed[one], others, strict=True)
    )
    return [
        claim.finding(
            measure,
            "exact sum of its places, run by run",
            "share of the other cells that it surpasses",
            found,
            power_at=f"a lead of {LEAD:g} standard deviation",
            reading=f"first in {firsts} of {len(others)} runs",
            cells=len(signed.columns),
            **behind(used),
        )
    ]


def above(
    claim: Claim,
    rows: pd.DataFrame,
    column: str,
    measure: str,
    *,
    base: str,
    one: str,
    other: str,
    rises: bool,
    primary: bool = True,
) -> list[Finding]:
    """Whether one cell has a better value than another, run by run."""
    wide, used = _by_run(rows, column, base, (one, other))
    if not {one, other} <= set(wide.columns):
        return []
    wide = wide.dropna()
    apart = (wide[one] > wide[other]) if rises else (wide[one] < wide[other])
    # Runs that tie decide nothing.
    apart = apart[wide[one] != wide[other]]
    return runs_that(claim, apart.to_numpy(), measure, used, 2, primary)


def runs_that(
    claim: Claim, so: np.ndarray, measure: str, used: Any, cells: int, primary: bool = True
) -> list[Finding]:
    """The share of runs that are so, against one half.

    Args:
        claim: What is tested.
        so: Whether each run is, [runs].
        measure: Of what.
        used: The trials behind it.
        cells: How many there are.
        primary: As in `Finding`.
    """
    if not len(so):
        return []
    found = share(int(so.sum()), len(so))
    return [
        claim.finding(
            measure,
            "exact binomial test against one half",
            "share of runs",
            found,
            power_at=f"a share of {OFTEN:.0%}",
            primary=primary,
            cells=cells,
            **behind(used),
        )
    ]


def _by_run(rows: Any, column: str, base: str, names: tuple[str, ...]) -> tuple[Any, Any]:
    """The measure by run and cell, and the trials used."""
    if rows.empty:
        return pd.DataFrame(), rows
    used = rows[(rows["base"] == base) & rows["variant"].isin(names) & rows[column].notna()]
    wide = used.pivot_table(index=RUN, columns="variant", values=column, aggfunc="first")
    return wide, used


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

EARLY_CLAIMS = tuple(
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
