"""Operation variants converge almost alike, so connections matter more (Section 4.1, Figure 5)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.paper.claims.claim import CIFAR10, Claim, Finding
from orchestrator.paper.claims.population import BASE, CONNECTIONS, OPERATIONS, Population
from orchestrator.paper.claims.scores import averages, behind
from orchestrator.paper.statistics.association import association
from orchestrator.paper.statistics.samples import equivalent
from orchestrator.paper.statistics.testing import RHO

_LEAST = 3
"""Variants of each kind that a spread takes."""

_MEASURES = (
    ("epochs_90", "epochs to 90 % of the base's final accuracy", True),
    ("area_20", "mean test accuracy over the first 20 % of epochs", False),
)


def _alike(claim: Claim, population: Population) -> list[Finding]:
    trials: Any = population.at_rate()
    if trials.empty:
        return []
    found = []
    for column, measure, primary in _MEASURES:
        cells: Any = averages(trials, column)
        cells = pd.concat(
            [part for _, part in cells.groupby(["base", "setting"]) if _enough(part)]
            or [cells.iloc[:0]]
        )
        if cells.empty:
            continue
        rows = trials[trials["trial_id"].isin(frozenset().union(*cells["ids"]))]
        common = {
            "cells": len(cells[["base", "variant"]].drop_duplicates()),
            **behind(rows, each=[]),
        }
        found += [
            _spread(claim, cells, measure, primary, common),
            *_equivalence(claim, cells, measure, common),
        ]
    return found


def _enough(part: Any) -> bool:
    kinds = part["kind"].value_counts()
    return min(kinds.get(CONNECTIONS, 0), kinds.get(OPERATIONS, 0)) >= _LEAST


def _spread(claim: Claim, cells: Any, measure: str, primary: bool, common: Any) -> Finding:
    variants = cells[cells["kind"] != BASE].copy()
    strata = variants["base"] + "\n" + variants["setting"]
    groups = variants.groupby([strata, "kind"])["value"]
    middles = groups.transform("median")
    with np.errstate(invalid="ignore"):
        apart = (variants["value"] - middles).abs()
    # Two infinities are as far from each other as nothing.
    variants["apart"] = apart.fillna(0.0)
    # A cell of several settings is one cell: its distances' ranks are averaged.
    variants["rank"] = variants.groupby(strata)["apart"].rank(pct=True)
    each = variants.groupby(["base", "kind", "variant"])["rank"].mean().reset_index()
    found = association(
        (each["kind"] == CONNECTIONS).to_numpy(dtype=float),
        each["rank"].to_numpy(dtype=float),
        each["base"].to_numpy(dtype=str),
    )
    return claim.finding(
        f"spread of {measure} over connection and over operation variants",
        "ranks of distances from the kind's median, permuted within bases",
        "ρ of the distance and of being a connection variant",
        found,
        power_at=f"ρ = {RHO}",
        primary=primary,
        reading=_decomposition(variants),
        **common,
    )


def _decomposition(variants: Any) -> str:
    """How much of the variance the connections make, cells that never arrive left out."""
    finite = variants[np.isfinite(variants["value"])]
    spread: Any = finite.groupby(["base", "setting", "kind"])["value"].var().unstack("kind")
    if not {CONNECTIONS, OPERATIONS} <= set(spread.columns):
        return ""
    share = (spread[CONNECTIONS] / (spread[CONNECTIONS] + spread[OPERATIONS])).mean()
    lost = len(variants) - len(finite)
    left = f", {lost} infinite left out" if lost else ""
    return "" if math.isnan(share) else f"connections make {share:.0%} of the variance{left}"


def _equivalence(claim: Claim, cells: Any, measure: str, common: Any) -> list[Finding]:
    """Whether operation variants are as near the base as connection variants are to each other."""
    apart = []
    for _, part in cells.groupby("base"):
        mine = []
        for _, group in part.groupby("setting"):
            base = group[group["kind"] == BASE]["value"].mean()
            spread = _finite(group, CONNECTIONS).std(ddof=1)
            operations = group[group["kind"] == OPERATIONS].set_index("variant")["value"]
            if spread > 0 and math.isfinite(base):
                mine.append((operations.clip(-1e6, 1e6) - base).mean() / spread)
        if mine:
            apart.append(float(np.mean(mine)))
    if not apart:
        return []
    found = equivalent(np.array(apart), 1.0)
    return [
        claim.finding(
            f"{measure}: operation variants less the base, in deviations of connection variants",
            "two one-sided t-tests over bases, ± 1 deviation",
            "mean difference",
            found,
            power_at="no difference",
            primary=False,
            **common,
        )
    ]


def _finite(group: Any, kind: str) -> np.ndarray:
    values = group[group["kind"] == kind]["value"].to_numpy(dtype=float)
    values = values[np.isfinite(values)]
    return values if len(values) > 1 else np.zeros(2)


CLAIMS = (
    Claim(
        "operations-alike",
        "Variants of the operations converge almost alike; the connections matter more.",
        "Section 4.1, Figures 5 and 12",
        "whether epochs to 90 % of the base's accuracy spread more over connection variants than "
        "over operation variants, by ranks; beside it the shares of variance and the equivalence "
        "of operation variants with their base",
        "connection and operation variants of one base (launch experiments/fig9.yaml and "
        "experiments/fig5.yaml)",
        "operations",
        _alike,
        CIFAR10,
    ),
)
