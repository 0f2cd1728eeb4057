"""Claims that an experiment states of its own results (`orchestrator.config.claims`).

They are about the data that the experiment trained on, so no data set is a substitute, and trials
that differ in an axis are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.config.claims import COMPARISONS, TESTS, Stated
from orchestrator.config.record import read_declared
from orchestrator.figures.evidence import (
    AS_ZERO,
    CELL,
    LEFT_OUT,
    RANKED_LAST,
    counted_accuracies,
    score_cells,
    worst,
)
from orchestrator.paper.claims.accuracy import POINTS
from orchestrator.paper.claims.claim import Claim, Measure, Sample
from orchestrator.paper.claims.landscape import measured
from orchestrator.paper.claims.measures import LEAD, RHO
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import Contrast, contrasts
from orchestrator.paper.statistics.laws import NOTHING, Outcome
from results_schema import tables
from results_schema.errors import ConfigError, CorruptData
from results_schema.store import Store

_SETTING = ["dataset", "learning_rate"]


def stated_claims(store: Store, experiment: str) -> list[Claim]:
    """Return the claims that an experiment states; others may have written it without a file."""
    try:
        declared = read_declared(store, experiment)
    except (ConfigError, CorruptData):
        return []
    return [
        Claim(
            f"{declared.name}:{name}",
            stated.options.statement or _statement(stated),
            f"experiment {declared.name}",
            f"claims of {declared.name}",
            (_measure(stated),),
            f"values of {' and '.join(dict.fromkeys(stated.columns))} that differ",
            datasets=tuple(dict.fromkeys(declared.datasets.values())),
            stated=True,
        )
        for name, stated in declared.claims.items()
    ]


def _statement(stated: Stated) -> str:
    first, second = (_text(side) for side in stated.of)
    outcome, options = stated.options.outcome, stated.options
    return {
        "spearman": f"{second} rises with {first}.",
        "peak": f"{second} peaks at a middle {first}.",
        "greater": f"{first} has more {outcome} than {second}.",
        "equal": f"{first} and {second} have equal {outcome}, within {options.within}.",
    }.get(stated.test, f"{stated.test} of {first} and {second}.")


def _text(side: Any) -> str:
    if isinstance(side, dict):
        return ", ".join(f"{column} {value}" for column, value in side.items())
    return f"falling {side[1:]}" if side.startswith("-") else side


def _measure(stated: Stated) -> Measure:
    first, second = (_text(side) for side in stated.of)
    given = stated.options.smallest
    if stated.test in COMPARISONS:
        outcome, equal = stated.options.outcome, stated.test == "equal"
        points = "accuracy" in outcome
        unit = ", in points" if points else ""
        return Measure(
            outcome,
            f"{'size of the ' * equal}difference of {first} and {second}{unit}",
            partial(_compare, stated),
            math.nan if equal else given or (POINTS if points else math.nan),
            "points" if points else "number",
            equality=equal,
            grows="seeds" if all(map(_is_cell, stated.of)) else "variants",
        )
    about = TESTS[stated.test].about if stated.test in TESTS else {}
    known = {"spearman": (f"ρ with {first}", RHO), "peak": (f"lead of a middle {first}", LEAD)}
    own = about.get("effect", stated.test), about.get("smallest", math.nan)
    effect, smallest = known.get(stated.test, own)
    scale = about.get("scale", "correlation")
    return Measure(second, effect, partial(_relate, stated), given or smallest, scale)


def _is_cell(side: Any) -> bool:
    return isinstance(side, str) or not {"base", "variant", "index"}.isdisjoint(side)


@dataclass(frozen=True)
class _Table:
    """The trials of a claim's experiment with the columns that it names.

    Attributes:
        rows: Trials, with `value`: the outcome, of which more is better.
        axes: Columns of the axes besides the grid's own.
        diverged_as: How diverged trials count.
    """

    rows: Any
    axes: list[str]
    diverged_as: str

    def column(self, name: str) -> str:
        """Return the column of a name, which may be an axis's key."""
        last = name.rpartition(".")[2]
        name = "named_dataset" if name == "dataset" else name
        return name if name in self.rows.columns or last not in self.axes else last

    def settings(self, *without: str) -> list[str]:
        """Return the columns in which trials that are compared agree, but for these."""
        return [name for name in [*_SETTING, *self.axes] if name not in without]


def _read(population: Population, outcome: str, *, ranked: bool) -> _Table | None:
    """Return the trials with an outcome; a leading minus turns it."""
    sign, name = (-1, outcome[1:]) if outcome.startswith("-") else (1, outcome)
    kind, _, column = name.partition(".")
    rows: Any = population.trials
    if column:
        rows = measured(population, kind, column, rises=column not in _FALLING)
    else:
        rows = rows.assign(value=_outcome(rows, name, ranked=ranked))
    rows = rows[rows["value"].notna() if ranked else np.isfinite(rows["value"])]
    rows = rows.assign(value=sign * rows["value"])
    known = {*tables.MEMBERS.names}
    axes = [name for name in population.results.members(population.alone) if name not in known]
    last = AS_ZERO if "accuracy" in name else LEFT_OUT
    return _Table(rows, axes, RANKED_LAST if ranked else last) if len(rows) else None


_FALLING = ("roughness", "nonfinite", "top_eigenvalue", "deviation", "ring", "variance")
"""Columns of surfaces of which less is better, as a diverged trial has the most."""


def _outcome(rows: Any, name: str, *, ranked: bool) -> Any:
    if "accuracy" in name and not ranked:
        return 100 * counted_accuracies(rows, name)
    values: Any = pd.to_numeric(rows[name], errors="coerce") if name in rows else math.nan
    values = pd.Series(values, index=rows.index, dtype=float)
    lost = rows["status"] == "diverged"
    if "accuracy" in name or name == "final" or name.startswith("area"):
        return values.mask(lost, worst(rises=True))
    if "loss" in name or name == "jitter" or name.startswith("epochs_"):
        return values.mask(lost, worst(rises=False))
    return values.mask(lost, math.nan) if name == "train_seconds" else values


def _relate(stated: Stated, population: Population) -> Sample | None:
    """Test the association of a column of cells, or an axis, with the outcome's mean ranks."""
    if stated.test not in TESTS:
        return Sample(NOTHING, 0, note=f"no loaded plug-in has the test {stated.test}")
    table = _read(population, stated.of[1], ranked=True)
    if table is None:
        return None
    name = stated.of[0]
    sign, x = (-1, name[1:]) if name.startswith("-") else (1, name)
    x = table.column(x)
    if x not in table.rows:
        return None
    values: Any = pd.to_numeric(table.rows[x], errors="coerce")
    rows = table.rows.assign(x=sign * values)
    rows = rows[rows["x"].notna()]
    # An axis is rearranged within cells, a property of cells within bases, whose own cells were
    # chosen for their accuracy and are left out.
    axis = x in (*table.axes, *_SETTING, "named_dataset", "seed")
    drawn = rows["index"] > 0
    rows = rows[drawn] if drawn.any() and not axis else rows
    if rows.empty:
        return None
    strata = CELL if axis else ["base"] if drawn.any() else []
    if stated.options.strata is not None:
        strata = [table.column(one) for one in stated.options.strata]
    unit = list(dict.fromkeys([*CELL, *strata, "x"]))
    group = list(dict.fromkeys([*strata, *table.settings(x)]))
    cells = score_cells(rows, "value", group=group, unit=unit)
    codes = cells.groupby(strata).ngroup() if strata else np.zeros(len(cells), dtype=int)
    x, y = (cells[name].to_numpy(dtype=float) for name in ("x", "score"))
    found: Outcome = TESTS[stated.test].resolve()(x, y, np.asarray(codes))
    if math.isnan(found.value):
        return None
    return Sample(found, len(cells[CELL].drop_duplicates()), rows)


def _compare(stated: Stated, population: Population) -> Sample | None:
    """Compare the means of two cells, over runs; or of two values of an axis, over cells."""
    table = _read(population, stated.options.outcome, ranked=False)
    if table is None:
        return None
    sides = [side if isinstance(side, dict) else {"variant": side} for side in stated.of]
    sides = [{table.column(name): value for name, value in side.items()} for side in sides]
    parts = [_select(table.rows, side) for side in sides]
    settings = table.settings(*(name for side in sides for name in side))
    if all(map(_is_cell, stated.of)):
        shared = not set(parts[0]["base"]).isdisjoint(parts[1]["base"])
        strata = ["base"] if shared else []
        if stated.options.strata is not None:
            strata = [table.column(name) for name in stated.options.strata]
        found = _over_runs(parts, list(dict.fromkeys([*settings, *strata])))
    else:
        found = _over_cells(parts, settings)
    if found is None:
        return None
    rows, within = pd.concat(parts), stated.options.within
    run: Any = TESTS[stated.test].resolve()
    if not found.error:
        outcome = Outcome(found.value)
    else:
        outcome = run([[found]]) if within is None else run([found], within)
    cells = len(rows[CELL].drop_duplicates())
    return Sample(outcome, cells, rows, diverged_as=table.diverged_as)


def _select(rows: Any, side: dict[str, Any]) -> Any:
    for name, value in side.items():
        same = np.isclose(rows[name], value) if isinstance(value, float) else rows[name] == value
        rows = rows[same]
    return rows


def _over_runs(parts: list[Any], within: list[str]) -> Contrast | None:
    """Return the difference over runs of each group; without an error if none can be had."""
    groups = [dict(iter(part.groupby(within, dropna=False)["value"])) for part in parts]
    keys = [key for key in groups[0] if key in groups[1]]
    if not keys:
        return None
    ones, others = ([side[key].to_numpy(dtype=float) for key in keys] for side in groups)
    if found := contrasts(others, [ones]):
        return found[0]
    apart = [float(a.mean() - b.mean()) for a, b in zip(ones, others, strict=True)]
    return Contrast(float(np.mean(apart)), 0.0, 0)


def _over_cells(parts: list[Any], settings: list[str]) -> Contrast | None:
    """Return the mean difference of cells; without an error if there is one, or all are alike."""
    keys = [*CELL, *settings]
    means = [part.groupby(keys, dropna=False)["value"].mean() for part in parts]
    apart = (means[0] - means[1]).dropna().groupby(CELL).mean().to_numpy(dtype=float)
    n = len(apart)
    if not n:
        return None
    error = float(apart.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Contrast(float(apart.mean()), error if error > 1e-12 else 0.0, n - 1)
