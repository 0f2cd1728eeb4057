"""Final accuracy: over width, of variants against their base, of adapted cells (Section 5)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.figures.evidence import AS_ZERO, counted_accuracies
from orchestrator.paper.claims.claim import CIFAR10, Claim, Finding
from orchestrator.paper.claims.population import ADAPTED, BASE, CONNECTIONS, Population
from orchestrator.paper.claims.scores import averages, behind, behind_scores, count_ids, scores
from orchestrator.paper.statistics.association import interior_chance, quadratic, two_lines
from orchestrator.paper.statistics.samples import (
    BEST_LEAD,
    LARGE,
    OFTEN,
    Set,
    against_chances,
    best_lead,
    flipped,
    paired,
    share,
)
from orchestrator.paper.statistics.testing import RHO

_MEASURE = "test accuracy after the last epoch"
_BEND = f"a partial ρ of {RHO} with −width²"


def _peak(claim: Claim, population: Population) -> list[Finding]:
    trials: Any = population.at_rate()
    if trials.empty:
        return []
    rows = trials[trials["kind"] == CONNECTIONS]
    cells: Any = scores(rows, "final")
    x, y = (cells[name].to_numpy(dtype=float) for name in ("width", "score"))
    strata = cells["base"].to_numpy(dtype=str)
    common = behind_scores(cells, rows)
    curved, broken = quadratic(x, y, strata), two_lines(x, y, strata)
    found = []
    for peak, statistic, effect, primary in (
        (broken, "two lines, their break permuted too, within bases", "mean of the lesser t", True),
        (curved, "quadratic, permuted within bases", "partial ρ with −width²", False),
    ):
        if peak.n:
            about = {"cells": peak.n, "primary": primary, "power_at": _BEND, **common}
            found.append(claim.finding(f"{_MEASURE} over width", statistic, effect, peak, **about))
    return found + (_interior(claim, cells, common) if found else [])


def _interior(claim: Claim, cells: Any, common: Any) -> list[Finding]:
    """Bases whose best variant is neither of the narrowest nor of the widest."""
    seen, chances = 0, []
    for _, group in cells.groupby("base"):
        widths = group["width"].to_numpy(dtype=float)
        if len(np.unique(widths)) > 2:
            best = widths[int(group["score"].to_numpy(dtype=float).argmax())]
            seen += int(widths.min() < best < widths.max())
            chances.append(interior_chance(widths))
    if not chances:
        return []
    return [
        claim.finding(
            "bases whose best variant has an intermediate width",
            "exact against the rate without an effect",
            "share of bases",
            against_chances(seen, chances),
            power_at=f"a share of {OFTEN:.0%}",
            cells=len(cells),
            primary=False,
            reading=f"without an effect {np.mean(chances):.1%} would",
            **common,
        )
    ]


def _some_beat(claim: Claim, population: Population) -> list[Finding]:
    return _against_base(claim, population, lambda base: base != "AmoebaNet", sign=1)


def _none_beats(claim: Claim, population: Population) -> list[Finding]:
    return _against_base(claim, population, lambda base: base == "AmoebaNet", sign=-1)


def _against_base(claim: Claim, population: Population, wanted: Any, *, sign: int) -> list[Finding]:
    """Whether any variant surpasses its base, by seeds (Dunnett) and by the rate without them."""
    trials: Any = population.at_rate()
    if trials.empty:
        return []
    rows = trials[trials["kind"].isin([BASE, CONNECTIONS]) & trials["base"].map(wanted)]
    rows = rows[rows.groupby(["base", "setting"])["kind"].transform("nunique") == 2]
    if rows.empty:
        return []
    rows = rows.assign(accuracy=counted_accuracies(rows, "final"))
    cells: Any = averages(rows, "accuracy")
    common: dict[str, Any] = {
        "cells": len(cells[["base", "variant"]].drop_duplicates()),
        # Each base in each setting is a set by itself, and counts once.
        **behind(rows, each=["base"], within=[]),
        "trials": count_ids(cells),
        "diverged_as": AS_ZERO,
    }
    above, chances, best = 0, [], []
    for _, group in cells.groupby(["base", "setting"]):
        base = group[group["kind"] == BASE]["value"].max()
        variants = group[group["kind"] == CONNECTIONS]["value"]
        above += int((variants > base).any())
        chances.append(len(variants) / (len(variants) + 1))
        best.append(float(variants.max() - base))
    counted = claim.finding(
        "sets in which some variant's mean surpasses the base's",
        "exact against the rate without an effect",
        "share of sets",
        against_chances(above, chances, fewer=sign < 0),
        power_at=f"a share of {OFTEN if sign > 0 else 1 - OFTEN:.0%}",
        reading=f"without an effect {np.mean(chances):.0%} would; best lead "
        f"{100 * max(best):.2f} points",
        **common,
    )
    by_seeds = _by_seeds(claim, rows, sign, common)
    if by_seeds is None:
        return [counted]
    # Seeds can show that a variant leads; that none does, only the rate can show.
    other = {"p": counted.p} if sign < 0 else {"p_against": counted.p_against}
    return [replace(by_seeds, **other), replace(counted, primary=False)]


def _by_seeds(claim: Claim, rows: Any, sign: int, common: Any) -> Finding | None:
    """The best variant of each set against the base, over seeds."""
    sets = []
    for _, group in rows[rows["accuracy"].notna()].groupby(["base", "setting"]):
        variants = group[group["kind"] == CONNECTIONS].groupby("variant")
        base = group[group["kind"] == BASE]["accuracy"].to_numpy(dtype=float)
        sets.append(Set(base, [one["accuracy"].to_numpy(dtype=float) for _, one in variants]))
    found = best_lead(sets)
    if not found.n:
        return None
    return claim.finding(
        "lead of the best variant over the base, in accuracy, over seeds",
        "Dunnett's test, corrected for the sets",
        "largest lead",
        found if sign > 0 else found.turned(),
        power_at=f"a lead of {BEST_LEAD:g} standard deviations over seeds, of one variant of each"
        " set",
        **common,
    )


_NEEDS = "bases and their connection variants, trained (launch experiments/fig9.yaml{})"

_FINAL = (
    Claim(
        "peak-at-middle",
        "Test accuracy peaks at an intermediate width.",
        "Section 5, Figure 9",
        "Simonsohn's two lines with the break permuted; beside it a quadratic, and how many bases "
        "have their best variant at an interior width against the rate without an effect",
        _NEEDS.format(""),
        "generalisation",
        _peak,
        CIFAR10,
    ),
    Claim(
        "some-variants-beat-base",
        "Some variants generalise better than their base, AmoebaNet aside.",
        "Section 5, Figure 9",
        "Dunnett's test of the variants' leads over seeds; beside it the share of sets in which "
        "one leads, against the rate without an effect (93 % for 13 variants)",
        _NEEDS.format(" with --set 'grid.seed=[0, 1, 2]'"),
        "generalisation",
        _some_beat,
        CIFAR10,
    ),
    Claim(
        "none-beats-amoebanet",
        "No variant of AmoebaNet generalises better than AmoebaNet.",
        "Section 5, Figure 9",
        "the share of sets in which no variant leads, against the rate without an effect (7 % for "
        "13 variants); Dunnett's test over seeds can contradict it",
        _NEEDS.format(""),
        "generalisation",
        _none_beats,
        CIFAR10,
    ),
)


_ENDING = "_ADAPT"


def _compare(dataset: str, sign: int):
    """Whether adapted cells have the lower (sign 1) or the higher (−1) error on a data set."""

    def test(claim: Claim, population: Population) -> list[Finding]:
        rows: Any = population.trials
        if rows.empty:
            return []
        # Whatever stands in for this dataset is of a scope of its own.
        rows = rows[(rows["named_dataset"] == dataset) & rows["kind"].isin([BASE, ADAPTED])]
        pairs = _pairs(rows)
        if pairs.empty:
            return []
        pairs["gain"] = sign * pairs["gain"]
        used = rows[rows["trial_id"].isin({*pairs["trial_id"], *pairs["trial_id_adapted"]})]
        common = {"cells": 2 * pairs["base"].nunique(), "diverged_as": AS_ZERO, **behind(used)}
        means: Any = pairs.groupby("base")["gain"].mean()
        each = ", ".join(f"{base} {value:+.2f}" for base, value in means.items())
        found = paired(means.to_numpy(dtype=float))
        exact = flipped(means.to_numpy(dtype=float))
        seeds = flipped(pairs["gain"].to_numpy(dtype=float))
        better = share(int((means > 0).sum()), len(means))
        wanted = "reduction" if sign > 0 else "increase"
        effect = f"mean {wanted} of the error, in points"
        at = f"a mean of {LARGE:g} standard deviation"
        return [
            claim.finding(
                "error of the adapted cells, by architecture",
                "paired t over architectures, seeds averaged",
                effect,
                found,
                power_at=at,
                reading=f"{each} points",
                **common,
            ),
            claim.finding(
                "error of the adapted cells, by architecture",
                "signs flipped, exact",
                effect,
                exact,
                power_at=at,
                primary=False,
                **common,
            ),
            claim.finding(
                "error of the adapted cells, by architecture and seed",
                "signs flipped for each seed",
                effect,
                seeds,
                power_at=at,
                primary=False,
                reading="seeds of one architecture taken as independent",
                **common,
            ),
            claim.finding(
                "architectures whose error moves as claimed",
                "sign test",
                "share",
                better,
                power_at=f"a share of {OFTEN:.0%}",
                primary=False,
                **common,
            ),
        ]

    return test


def _pairs(rows: Any) -> pd.DataFrame:
    """Original and adapted trials of one setting, rate and seed; the gain is in points of error.

    Accuracies are as they count (`evidence.counted_accuracy`); trials without one are left out.
    """
    keys = ["base", "setting", "learning_rate", "seed"]
    rows = rows.assign(accuracy=counted_accuracies(rows)).dropna(subset=["accuracy"])
    rows = rows[[*keys, "kind", "trial_id", "accuracy"]]
    original = rows[rows["kind"] == BASE]
    adapted = rows[rows["kind"] == ADAPTED]
    adapted = adapted.assign(base=adapted["base"].str.removesuffix(_ENDING))
    pairs = original.merge(adapted, on=keys, suffixes=("", "_adapted"))
    return pairs.assign(gain=100 * np.subtract(pairs["accuracy_adapted"], pairs["accuracy"]))


_ADAPTED_CELLS = tuple(
    Claim(
        f"adapted-{word}-{dataset.replace('_', '-')}",
        f"Adapted cells have {more} error on {name}.",
        "Section 5, Table 1",
        "mean paired difference over architectures, seeds averaged, by Student's t, which is that "
        "of a mixed model; beside it by flipping signs (with five architectures p is 0.031 at "
        "best), over seeds too, and the sign test",
        f"original and adapted cells on {dataset} (launch experiments/table1.yaml)",
        "adapted",
        _compare(dataset, sign),
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
