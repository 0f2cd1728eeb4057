"""Statements about one cell by name: is it the first, or the last, of those it is drawn with?

Cells are as good as fixed here, so seeds and settings are what chance has a say in: with one run
nothing can be decided about five cells, since one of them is always the first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from orchestrator.paper.claims.cells import behind
from orchestrator.paper.claims.claim import Claim
from orchestrator.paper.claims.finding import Finding
from orchestrator.paper.statistics.proportion import OFTEN, share
from orchestrator.paper.statistics.ranks import LEAD, placing

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
    # Runs that tie tell nothing.
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
