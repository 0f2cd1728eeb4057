"""What trials are evidence of: settings, cells, bases, and how a diverged trial counts.

Claims, tables, figures and the table that a launch ends with share these rules.

Cells. The unit is a cell: its seeds and its data sets measure the same thing, so they are averaged,
as ranks among the trials of one base, setting and rate (`score_cells`). Ties share their mean rank,
so that a tie counts half for each side. A base without a value of its own is no reference: what
compares with it leaves its variants out (`with_base`).

Settings. Trials that differ in dataset, network size, recipe or precision are of different
settings. A finding is about one setting, or lists those that it combines with their weights. It
combines only settings that differ in the dataset alone, which together are called a scope.

Substitutes. A dataset is a substitute unless the paper's claim names it, whether a profile put it
in place of one that the claim names or the experiment itself names it. Trials on substitutes
are never combined with trials on the paper's datasets, and bear no verdict on the paper's claim.
Trials on the paper's datasets with another network or recipe bear one that names the difference.

Diverged trials. A diverged trial is a result, and the worst there is. In a mean of accuracies it
counts as accuracy 0, an error of 100 %; in a ranking it is last. A quantity that has no worst value
(a loss, a measure of the landscape, a curve over epochs) is averaged without it. Each number that
diverged trials could change comes with their number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.config.recipes import RECIPES
from orchestrator.output.text import value_text
from results_schema.errors import SpecError
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.data.catalog import describe

DIVERGED_ACCURACY = 0.0
"""What a diverged trial counts as in a mean of accuracies."""

RANKED_LAST, AS_ZERO = "ranked last", "counted as accuracy 0"
AS_FULL_ERROR, LEFT_OUT = "counted as an error of 100 %", "left out of the means"
"""Texts about how diverged trials enter a number."""

NETWORK = NetworkSpec()
"""Size of the paper's network."""

STANDARD_RATE = 0.025
"""The paper's learning rate (Section A.3)."""

_VARIED = ("genotype", "learning_rate", "seed", "extensions")
"""Fields of a trial's spec that trials of one setting may differ in."""

_UNIMPORTANT = ("epochs", "version", "evaluation_batch")
"""Fields of a recipe that are not named by themselves: epochs are named with the network."""


def counted_accuracy(status: Any, accuracy: Any) -> float:
    """Return what a trial of this status and test accuracy counts with; NaN without a result."""
    if status == "diverged":
        return DIVERGED_ACCURACY
    return float(accuracy) if status == "done" and not pd.isna(accuracy) else math.nan


def counted_accuracies(trials: pd.DataFrame, column: str = "test_accuracy") -> pd.Series:
    """Return what each trial counts with by its `status` and its accuracy, which `column` holds."""
    status, accuracy = trials["status"].to_numpy(dtype=object), trials[column].to_numpy(dtype=float)
    counted = np.where(status == "done", accuracy, math.nan)
    counted[status == "diverged"] = DIVERGED_ACCURACY
    return pd.Series(counted, index=trials.index)


def worst(*, rises: bool) -> float:
    """Return the value by which a diverged trial ranks last; `rises` if more is better."""
    return -math.inf if rises else math.inf


BASE, ADAPTED, CONNECTIONS, OPERATIONS = "base", "adapted", "connections", "operations"
"""Kinds of members."""

CELL = ["base", "variant"]
"""What makes two trials ones of the same cell."""

GROUP = ["base", "setting", "learning_rate"]
"""What trials that are ranked among each other have in common."""

TRAITS = ("width", "depth", "live_parameters", "skips", "inputs")
"""Columns of a trial that its cell determines."""


def kind(base: str, variant: str, index: int) -> str:
    """Return what a member is: base, adapted, connections or operations.

    Operation variants are recognised by their names, `OPS3` or `ops seed 3`; adapted cells by the
    ending `_ADAPT` of theirs.
    """
    if index == 0:
        return ADAPTED if base.endswith("_ADAPT") else BASE
    return OPERATIONS if variant.lower().startswith("ops") else CONNECTIONS


def score_cells(
    trials: pd.DataFrame,
    column: str,
    *,
    rises: bool = True,
    group: Sequence[str] = GROUP,
    unit: Sequence[str] = CELL,
) -> pd.DataFrame:
    """Return the score of each cell in one measure: the mean rank of its trials, 0 to 1.

    Args:
        trials: Trials with `GROUP`, `CELL` and kind.
        column: The measure; rows where it is NaN are left out, infinite ones rank outermost.
        rises: Whether more of it is better.
        group: Columns in which trials agree that are ranked among each other.
        unit: Columns that identify what is scored.

    Returns:
        A row for each unit: score (more is better), kind, those of `TRAITS` that trials
        have.
    """
    traits = [trait for trait in TRAITS if trait in trials.columns]
    named = dict.fromkeys([*group, *unit, "kind", *traits, column])
    rows: Any = trials.loc[trials[column].notna(), list(named)]
    values = rows[column].to_numpy(dtype=float)
    groups = rows.groupby(list(group), dropna=False).ngroup().to_numpy()
    ranks = shares_below(values if rises else -values, groups)
    grouped = rows.assign(score=ranks).groupby(list(unit), sort=True, dropna=False)
    cells = grouped[[name for name in ("kind", *traits) if name not in unit]].first()
    cells.insert(0, "score", grouped["score"].mean())
    return cells.reset_index()


def with_base(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """Return bases and their connection variants, where both have a value in a setting and rate."""
    rows: Any = trials[trials["kind"].isin([BASE, CONNECTIONS]) & trials[column].notna()]
    return rows[rows.groupby(GROUP)["kind"].transform("nunique") == 2]


def shares_below(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return the share of its group that each value surpasses, itself and ties as half; [n]."""
    order = np.lexsort((values, groups))
    new = np.ones(len(values), dtype=bool)
    new[1:] = groups[order][1:] != groups[order][:-1]
    other = new.copy()
    other[1:] |= values[order][1:] != values[order][:-1]
    firsts, starts = np.flatnonzero(new), np.flatnonzero(other)
    sizes = np.diff(np.append(firsts, len(values)))
    times = np.diff(np.append(starts, len(values)))
    group = new[starts].cumsum() - 1
    shares = np.empty(len(values))
    shares[order] = np.repeat((starts - firsts[group] + times / 2) / sizes[group], times)
    return shares


def diverged_note(diverged: int, total: int, counts_as: str) -> str:
    """Return the sentence under a number, table or figure about its diverged trials.

    `total` is the number of trials with a result, at least 1, and `counts_as` is one of the texts
    above.
    """
    if not diverged:
        return "No trial diverged."
    return f"Diverged: {diverged} of {total} trial{'s' * (total > 1)}, {counts_as}."


@dataclass(frozen=True)
class Setting:
    """What trials that may be compared have in common."""

    dataset: str  # trained on
    network: NetworkSpec | None = None  # None if the store does not record it, as the recipe
    recipe: Recipe | None = None
    precision: str = "fp32"
    preprocessing: int = 0  # version of the dataset; 0 if the store does not record it

    @property
    def design(self) -> tuple[Any, ...]:
        """All but the dataset and what follows from it, such as its number of epochs."""
        if self.network is None or self.recipe is None:
            return ()
        epochs = self.recipe.epochs / _described(self.dataset)
        recipe = tuple(v for k, v in asdict(self.recipe).items() if k != "epochs")
        return self.network.cells, self.network.channels, epochs, self.precision, recipe

    def departures(self, recipe: str) -> list[str]:
        """Return what differs from a recipe of `RECIPES`, such as "5 cells (not 20)"."""
        if self.network is None or self.recipe is None:
            return ["network and recipe not recorded"]
        paper = Recipe(epochs=_described(self.dataset), **RECIPES[recipe])
        pairs: list[tuple[str, Any, Any]] = [
            ("{} cells", self.network.cells, NETWORK.cells),
            ("{} channels", self.network.channels, NETWORK.channels),
            ("{} epochs", self.recipe.epochs, paper.epochs),
            ("{}", self.precision, "fp32"),
        ]
        pairs += [
            (f"{name} {{}}", value, getattr(paper, name))
            for name, value in asdict(self.recipe).items()
            if name not in _UNIMPORTANT
        ]
        return [
            f"{text.format(value_text(mine))} (not {value_text(theirs)})"
            for text, mine, theirs in pairs
            if mine != theirs
        ]


def setting_key(spec: TrialSpec) -> str:
    """Return the text that identifies a trial's setting; `read_setting` is the inverse."""
    parts = {k: v for k, v in json.loads(spec.to_json()).items() if k not in _VARIED}
    # A plug-in's operations belong to the cell, its other entries to how the cell is trained.
    if extensions := [one for one in spec.extensions if not one.startswith("operation:")]:
        parts["extensions"] = extensions
    return json.dumps(parts, sort_keys=True)


@lru_cache(maxsize=10_000)
def read_setting(key: str) -> Setting:
    """Return the setting of a key; of trials without a spec the key is their dataset's name."""
    try:
        parts: Any = json.loads(key)
        return Setting(
            parts["dataset"],
            NetworkSpec.from_parts(parts["network"]),
            Recipe.from_parts(parts["recipe"]),
            parts.get("precision", "fp32"),
            parts["preprocessing"],
        )
    except (ValueError, TypeError, KeyError, SpecError):
        return Setting(key)


def scopes(trials: pd.DataFrame, datasets: Sequence[str]) -> list[pd.DataFrame]:
    """Split trials into parts whose settings a finding may combine.

    The trials of a part have one design (`Setting.design`). They are on the claim's datasets, or on
    what one profile put in place of them, or on one other dataset. Parts on the claim's datasets
    come first, larger designs before smaller ones.

    Args:
        trials: Rows with `setting`, `named_dataset` and `profile`.
        datasets: Datasets that the paper's claim names.
    """
    columns = ["setting", "named_dataset", "profile"]
    rows: Any = trials[columns].fillna("")
    keys = {
        (key, named, profile): _scope(read_setting(key), named, profile, datasets)
        for key, named, profile in rows.drop_duplicates().itertuples(index=False, name=None)
    }
    of = [keys[place] for place in rows.itertuples(index=False, name=None)]
    order = sorted(
        set(of), key=lambda key: (key[:2], not key[2], [-n for n in key[2][:3]], repr(key))
    )
    places = np.array([order.index(key) for key in of])
    return [trials.loc[places == number] for number in range(len(order))]


def is_substitute(settings: Iterable[str], datasets: Sequence[str]) -> bool:
    """Return whether any of the settings is on a dataset that a claim does not name."""
    return any(read_setting(key).dataset not in datasets for key in settings)


def weights(
    rows: pd.DataFrame, each: Sequence[str] = ("trial_id",), within: Sequence[str] = ()
) -> dict[str, float]:
    """Return the share that each setting has in an average, the largest first.

    Args:
        rows: Trials with `setting`.
        each: Columns that identify an averaged value within a setting.
        within: Columns by which values are averaged first, such as the cell: a setting's share is
            its mean share in these averages.
    """
    if rows.empty:
        return {}
    pairs: Any = rows[list(dict.fromkeys([*within, "setting", *each]))].drop_duplicates()
    counts = pairs.groupby([*within, "setting"]).size()
    if within:
        counts = counts.unstack("setting", fill_value=0)
        shares = counts.div(counts.sum(axis=1), axis=0).mean()
    else:
        shares = counts / counts.sum()
    found = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))
    return {str(key): float(share) for key, share in found if share}


def name_data(shares: Mapping[str, float]) -> str:
    """Return the datasets of settings with their weights: "digits 61 %, digit_pairs 39 %"."""
    if len(shares) == 1:
        return read_setting(next(iter(shares))).dataset
    names = [read_setting(key).dataset for key in shares]
    found = []
    for name, (key, share) in zip(names, shares.items(), strict=True):
        version = f" (preprocessing {read_setting(key).preprocessing})"
        found.append(f"{name}{version * (names.count(name) > 1)} {100 * share:.0f} %")
    return ", ".join(found)


def name_departures(settings: Iterable[str], recipe: str, rates: Iterable[float] = ()) -> str:
    """Return what differs from the paper's training, each difference once; empty if nothing does.

    Args:
        settings: Keys of one scope's settings.
        recipe: Name of the claim's recipe in `RECIPES`.
        rates: Learning rates of the trials.
    """
    found = [text for key in settings for text in read_setting(key).departures(recipe)]
    others = sorted({rate for rate in rates if not math.isclose(rate, STANDARD_RATE)})
    if others:
        found.append("learning rate " + " and ".join(f"{rate:g}" for rate in sorted({*rates})))
    return ", ".join(dict.fromkeys(found))


def _scope(
    setting: Setting, named: str, profile: str, datasets: Sequence[str]
) -> tuple[int, str, tuple[Any, ...]]:
    if setting.dataset in datasets:
        return 0, "", setting.design
    if named in datasets:
        return 1, profile, setting.design
    return 2, setting.dataset, setting.design


def _described(dataset: str) -> int:
    """Return the epochs that the paper trains on a dataset, or on the one that it replaces."""
    try:
        return describe(dataset).epochs
    except SpecError:
        return Recipe().epochs
