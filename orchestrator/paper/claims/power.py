"""What would decide an inconclusive claim: how many more seeds, variants or bases, and their price.

A claim is decided by data in which its smallest effect of interest is found with the wanted
probability, at the level that Holm's correction leaves to the smallest p of its family.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from orchestrator.figures.evidence import CELL, CONNECTIONS
from orchestrator.output.text import counted
from orchestrator.paper.claims.claim import INCONCLUSIVE, Finding, Grows
from results_schema.results import Results
from workers.cells.bases import BASES, zoo

MOST_TIMES = 4096
"""Times the present data beyond which no plan is made."""


@dataclass(frozen=True)
class Plan:
    """What would decide a claim.

    Attributes:
        claim: The claim's id.
        effect: Its smallest effect of interest, with what it is.
        power: Probability that it is found.
        level: Of the two-sided test.
        grows: What is added.
        has: How many there are, of each base or cell.
        needs: How many are needed.
        trials: How many trials that adds.
        hours: GPU-hours that these and their surfaces take, by those of the store; of CPU cores if
            it has no GPU's; NaN without any.
        gpu: Whether they are those of a GPU.
        experiment: The experiment that most of the claim's trials are of.
        yaml: What to write there.
        note: Why there is no number.
    """

    claim: str
    effect: str
    power: float
    level: float
    grows: Grows
    has: int
    needs: int
    trials: int = 0
    hours: float = math.nan
    gpu: bool = True
    experiment: str = ""
    yaml: str = ""
    note: str = ""

    @property
    def price(self) -> str:
        """The added trials and their hours as text."""
        text = f"{counted(self.trials, 'trial')} more"
        unit = "GPU-hours" if self.gpu else "core-hours"
        return text if math.isnan(self.hours) else f"{text}, about {self.hours:.3g} {unit}"


def plans(results: Results, found: Sequence[Finding], power: float) -> list[Plan]:
    """Return the plan of each inconclusive main finding about trials.

    Args:
        results: The store that they are of.
        found: Findings of `registry.findings`.
        power: Probability of finding the smallest effect of interest, below 1.
    """
    wanted = [
        one for one in found if one.primary and one.verdict == INCONCLUSIVE and one.used is not None
    ]
    surfaces = results.surfaces() if wanted else pd.DataFrame()
    return [_plan(one, power, surfaces) for one in wanted]


def times_needed(one: Finding, power: float) -> float | None:
    """Return how many times the data are needed, at least 1; None if the test does not tell."""
    finder = one.finder
    if finder is None or not math.isfinite(one.smallest):
        return None

    def enough(times: float) -> bool:
        return finder(one.level, power, times) <= one.smallest * (1 + 1e-9)

    if enough(1.0):
        return 1.0
    low, high = 1.0, 2.0
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_TIMES:
            return None
    while high - low > 0.002 * low:
        middle = (low + high) / 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _plan(one: Finding, power: float, surfaces: pd.DataFrame) -> Plan:
    used: Any = one.used
    has, times = _count(one.grows, used), times_needed(one, power)
    blank = Plan(one.claim, one.effect, power, one.level, one.grows, has, has)
    if times is None:
        why = f"more than {MOST_TIMES} times the data" if one.finder else "not known for this test"
        return replace(blank, note=why)
    if times == 1.0:
        return replace(blank, note="these data suffice for that: more would decide smaller effects")
    needs = math.ceil(has * times - 1e-9)
    trials = math.ceil(used["trial_id"].nunique() * (needs / has - 1) - 1e-9)
    hours, gpu = _hours(used, surfaces)
    return replace(
        blank,
        needs=needs,
        trials=trials,
        hours=hours * trials,
        gpu=gpu,
        experiment=str(used["experiment"].mode()[0]),
        yaml=_yaml(one, used, has, needs),
    )


def _count(grows: Grows, used: Any) -> int:
    """Return how many there are: seeds of each cell, variants of each base, or bases."""
    if grows == "seeds":
        return max(1, round(used.groupby(CELL)["seed"].nunique().median()))
    bases = used["base"].str.removesuffix("_ADAPT").nunique()
    if grows == "bases":
        return int(bases)
    variants = used[used["index"] > 0] if (used["index"] > 0).any() else used
    return max(1, round(len(variants[CELL].drop_duplicates()) / bases))


def _hours(used: Any, surfaces: Any) -> tuple[float, bool]:
    """Return the mean hours of a trial with its surfaces, and whether they are a GPU's."""
    trials = used.drop_duplicates("trial_id").set_index("trial_id")
    gpu = bool((trials["gpu"] == True).any())  # noqa: E712
    share = trials["gpu_share"].astype(float).fillna(1.0) if gpu else 1.0
    pack = trials["pack_size"].astype(float).fillna(1.0).clip(lower=1.0)
    seconds = trials["train_seconds"].astype(float) * share / pack
    if len(surfaces):
        mine = surfaces[surfaces["trial_id"].isin(trials.index)]
        part = mine["gpu_share"].astype(float).fillna(1.0) if gpu else 1.0
        took = (mine["measure_seconds"].astype(float) * part).groupby(mine["trial_id"]).sum()
        seconds = seconds + took.reindex(seconds.index).fillna(0.0)
    mean = float(seconds.mean())
    return (mean / 3600 if mean > 0 else math.nan), gpu


def _yaml(one: Finding, used: Any, has: int, needs: int) -> str:
    """Return the keys of an experiment that add the data; empty if no experiment can."""
    if one.grows == "seeds":
        last = int(used["seed"].max())
        kept = sorted({int(seed) for seed in used["seed"]})
        more = range(last + 1, last + 1 + needs - has)
        return f"grid:\n  seed: {[*kept, *more]}\n"
    if one.grows == "variants":
        # With the seed of those that are there, the same cells would be drawn again.
        kind, first = "connections", f"seed: {has}"
        if not (used["kind"] == CONNECTIONS).any():
            seeds = used["variant"].str.extract(r"seed (\d+)$", expand=False).dropna().astype(int)
            kind, first = "operations", f"first_seed: {max(seeds, default=0) + 1}"
        return f"grid:\n  variants: {{{kind}: {{mode: uniform, n: {needs - has}, {first}}}}}\n"
    if used["base"].str.endswith("_ADAPT").any():
        return ""
    new = [name for name in zoo() if name not in {*BASES, *used["base"]}][: needs - has]
    listed = ", ".join([*sorted(used["base"].unique()), *(f"{{zoo: {name}}}" for name in new)])
    return f"grid:\n  genotype: [{listed}]\n"
