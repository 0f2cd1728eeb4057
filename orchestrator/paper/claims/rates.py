"""At a large learning rate cells differ more and the narrow ones fail (Section 4.1, Figure 4)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import worst
from orchestrator.paper.claims.claim import BOTH_CIFARS, Claim, Finding
from orchestrator.paper.claims.convergence import trend
from orchestrator.paper.claims.population import BASE, CONNECTIONS, STANDARD_RATE, Population
from orchestrator.paper.claims.scores import behind, behind_scores, scores
from orchestrator.paper.statistics.samples import APART, OFTEN, STEP, odds, page, share

HIGH_RATE, LOW_RATE = 0.25, 0.0025
"""The two other rates of Figure 4."""

SHARE = 0.5
"""Of the base's final accuracy at the usual rate; below it a trial has failed."""


def with_failures(population: Population, rate: float) -> pd.DataFrame:
    """The trials at a rate, with a column `failed`.

    Where the base was not trained at the usual rate, its best final accuracy at any rate counts. A
    trial that ended, without such a base to be held against, is left out.
    """
    rows: Any = population.at_rate(rate)
    if rows.empty:
        return rows.assign(failed=[])
    trials: Any = population.trials
    bases = trials[(trials["kind"] == BASE) & (trials["status"] == "done")]
    usual = bases[np.isclose(bases["learning_rate"], STANDARD_RATE)]
    keys = ["base", "setting"]
    means = usual.groupby(keys)["test_accuracy"].mean()
    best = bases.groupby(keys)["test_accuracy"].max()
    reference = means.combine_first(best).rename("reference").reset_index()
    rows = rows.merge(reference, on=keys, how="left")
    low = rows["test_accuracy"] < SHARE * rows["reference"]
    lost = rows["status"] == "diverged"
    known = lost | (rows["test_accuracy"] - rows["reference"]).notna()
    return rows.assign(failed=lost | low)[known]


_THIRD = "CONN3"
"""C3 of the main text: the narrowest and deepest variant of DARTS there."""


def _interaction(claim: Claim, population: Population) -> list[Finding]:
    high, usual = (_variants(population, rate) for rate in (HIGH_RATE, STANDARD_RATE))
    if high.empty or usual.empty:
        return []
    keys = ["base", "variant", "setting"]
    means = usual.groupby(keys)["area_20"].mean().rename("usual").reset_index()
    rows = high.merge(means, on=keys)
    lost, before = np.isneginf(rows["area_20"]), np.isneginf(rows["usual"])
    with np.errstate(invalid="ignore"):
        gain = rows["area_20"] - rows["usual"]
    # Lost at both rates is no change; at the high one alone it is the worst there is.
    rows["gain"] = gain.mask(lost & before, 0.0).mask(lost & ~before, worst(rises=True))
    return trend(
        claim,
        rows,
        "gain",
        f"change of accuracy over the first 20 % of epochs from rate {STANDARD_RATE} to "
        f"{HIGH_RATE}",
        rises=True,
        behind_it=_with_usual(rows[rows["gain"].notna()], usual, keys),
    )


def _with_usual(compared: Any, usual: Any, keys: list[str]) -> Any:
    """Trials at the high rate, and those at the usual one that they are compared with."""
    return pd.concat([compared, usual.merge(compared[keys].drop_duplicates(), on=keys)])


def _failures(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = with_failures(population, HIGH_RATE)
    if rows.empty or not (rows["kind"] == CONNECTIONS).any():
        return []
    rows = rows[rows["kind"] == CONNECTIONS]
    cells: Any = scores(rows, "failed", rises=False)
    failed = rows.groupby(["base", "variant"])["failed"].mean() >= SHARE
    cells["failed"] = failed.reindex(list(zip(cells["base"], cells["variant"], strict=True))).array
    middle = cells.groupby("base")["width"].transform("median")
    narrow, wide = cells[cells["width"] < middle], cells[cells["width"] > middle]
    if narrow.empty or wide.empty:
        return []
    one, other = (
        (int(part["failed"].sum()), int((~part["failed"]).sum())) for part in (narrow, wide)
    )
    found = odds(one, other)
    return [
        claim.finding(
            f"cells that fail at {HIGH_RATE}, narrower against wider than their base's median",
            "Fisher's exact test",
            "odds ratio",
            found,
            power_at=f"{APART[0]:.0%} against {APART[1]:.0%}",
            cells=sum(one) + sum(other),
            **behind_scores(cells, rows),
            reading=f"{one[0]} of {sum(one)} narrow and {other[0]} of {sum(other)} wide cells fail",
        )
    ]


def _third_fails(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = with_failures(population, HIGH_RATE)
    if rows.empty:
        return []
    rows = rows[(rows["base"] == "DARTS") & (rows["variant"] == _THIRD)]
    parts = [("all data sets", rows), *rows.groupby("dataset")] if len(rows) else []
    return [_share(claim, str(name), part, name == "all data sets") for name, part in parts]


def _share(claim: Claim, name: str, rows: Any, primary: bool) -> Finding:
    found = share(int(rows["failed"].sum()), len(rows))
    return claim.finding(
        f"runs of C3 at {HIGH_RATE} that fail, {name}",
        "exact binomial test against one half",
        "share",
        found,
        power_at=f"a share of {OFTEN:.0%}",
        cells=1,
        primary=primary,
        **behind(rows),
    )


def _order(claim: Claim, population: Population) -> list[Finding]:
    rows: Any = population.at_rate(LOW_RATE)
    if rows.empty:
        return []
    order = [_THIRD, "CONN1", "DARTS"]
    rows = rows[(rows["base"] == "DARTS") & rows["variant"].isin(order)]
    found = []
    for column, measure in (
        ("area_20", "mean test accuracy over the first 20 % of epochs"),
        ("final", "test accuracy after the last epoch"),
    ):
        wide = rows.pivot_table(
            index=["setting", "seed"], columns="variant", values=column, aggfunc="mean"
        )
        wide = wide.reindex(columns=order).dropna()
        if wide.empty:
            continue
        kept = page(wide.to_numpy(dtype=float))
        found.append(
            claim.finding(
                f"{measure} at {LOW_RATE} of the base, C1 and C3",
                "Page's exact test over data sets and seeds",
                "mean ρ with the stated order",
                kept,
                power_at=f"steps of {STEP:g} standard deviation",
                cells=len(order),
                primary=column == "area_20",
                **behind(rows),
            )
        )
    return found


def _variants(population: Population, rate: float) -> Any:
    rows: Any = population.at_rate(rate)
    return rows if rows.empty else rows[rows["kind"] == CONNECTIONS].copy()


_FOUR = "DARTS, C1 and C3 of Figure 4 at rate {} (launch experiments/fig4.yaml)"

CLAIMS = (
    Claim(
        "larger-at-high-rate",
        "The lead of wide cells is larger at rate 0.25.",
        "Section 4.1, Figure 4",
        "interaction of width and rate: Spearman's correlation of width with the change of "
        "accuracy over the first 20 % of epochs from rate 0.025 to 0.25",
        "variants at rates 0.025 and 0.25 (launch experiments/more/grid.yaml)",
        "rates",
        _interaction,
        BOTH_CIFARS,
    ),
    Claim(
        "narrow-fail-at-high-rate",
        "Narrow cells fail to converge at rate 0.25 more often than wide ones.",
        "Section 4.1, Figure 4",
        "Fisher's exact test of cells that diverge or end below half of the base's accuracy, the "
        "narrower half of each base's variants against the wider",
        "variants at rate 0.25 (launch experiments/more/grid.yaml)",
        "rates",
        _failures,
        BOTH_CIFARS,
    ),
    Claim(
        "c3-fails-at-high-rate",
        "C3 of DARTS does not converge at rate 0.25, on either CIFAR.",
        "Section 4.1, Figure 4",
        "share of its runs that diverge or end below half of the base's accuracy, exact binomial",
        _FOUR.format(0.25),
        "rates",
        _third_fails,
        BOTH_CIFARS,
    ),
    Claim(
        "order-at-low-rate",
        "At rate 0.0025 the order base, C1, C3 persists.",
        "Section 4.1, Figure 4",
        "Page's exact test of that order in accuracy over the first 20 % of epochs",
        _FOUR.format(0.0025),
        "rates",
        _order,
        BOTH_CIFARS,
    ),
)
