"""Claims that an experiment states of its own results (`orchestrator.config.claims`).

They are about the data that the experiment trained on, so no data set is a substitute, and trials
that differ in an axis are compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from orchestrator.config.claims import COMPARISONS, TESTS, Stated
from orchestrator.config.record import Declared
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
from orchestrator.paper.claims.claim import Claim, Measure, Sample, Scale
from orchestrator.paper.claims.landscape import measured
from orchestrator.paper.claims.measures import LEAD, RHO
from orchestrator.paper.claims.population import Population
from orchestrator.paper.statistics.comparison import Contrast, contrasts
from orchestrator.paper.statistics.laws import NOTHING, Outcome
from results_schema import tables

_SETTING = ["dataset", "learning_rate"]


def stated_claims(declared: Declared) -> list[Claim]:
    """Return the claims that an experiment of a store states."""
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
        points = "accuracy" in stated.options.outcome
        scale: Scale = "points" if points else "number"
        unit = ", in points" if points else ""
        smallest = given or (POINTS if points else math.nan)
        equal = stated.test == "equal"
        effect = f"{'size of the ' * equal}difference of {first} and {second}{unit}"
        name = stated.options.outcome
        by_name = all(map(_is_cell, stated.of))
        return Measure(
            name, effect, _Comparison(stated).test, math.nan if equal else smallest, scale,
            equality=equal, grows="seeds" if by_name else "variants",
        )  # fmt: skip
    about = TESTS[stated.test].about if stated.test in TESTS else {}
    known = {"spearman": (f"ρ with {first}", RHO), "peak": (f"lead of a middle {first}", LEAD)}
    effect, smallest = known.get(
        stated.test, (about.get("effect", stated.test), about.get("smallest", math.nan))
    )
    scale = about.get("scale", "correlation")
    return Measure(second, effect, _Relation(stated).test, given or smallest, scale)


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
    if column and len(rows):
        rows = measured(population, kind, column, rises=column not in _FALLING)
    elif len(rows):
        rows = rows.assign(value=_outcome(rows, name, ranked=ranked))
    if rows.empty or "value" not in rows:
        return None
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
    values = pd.to_numeric(rows[name], errors="coerce") if name in rows else math.nan
    values = pd.Series(values, index=rows.index, dtype=float)
    lost = rows["status"] == "diverged"
    if "accuracy" in name or name == "final" or name.startswith("area"):
        return values.mask(lost, worst(rises=True))
    if "loss" in name or name == "jitter" or name.startswith("epochs_"):
        return values.mask(lost, worst(rises=False))
    return values.mask(lost, math.nan) if name == "train_seconds" else values


@dataclass(frozen=True)
class _Relation:
    """A column of cells, or an axis, and an outcome."""

    stated: Stated

    def test(self, population: Population) -> Sample | None:
        """Rank the outcome among comparable trials, average by unit, and test the association."""
        if self.stated.test not in TESTS:
            return Sample(NOTHING, 0, note=f"no loaded plug-in has the test {self.stated.test}")
        table = _read(population, self.stated.of[1], ranked=True)
        if table is None:
            return None
        name = self.stated.of[0]
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
        strata = CELL if axis else ["base"] if drawn.any() else []
        if self.stated.options.strata is not None:
            strata = [table.column(one) for one in self.stated.options.strata]
        unit = list(dict.fromkeys([*CELL, *strata, "x"]))
        group = list(dict.fromkeys([*strata, *table.settings(x)]))
        if rows.empty:
            return None
        cells = score_cells(rows, "value", group=group, unit=unit)
        codes = cells.groupby(strata).ngroup() if strata else np.zeros(len(cells), dtype=int)
        x, y = (cells[name].to_numpy(dtype=float) for name in ("x", "score"))
        found: Outcome = TESTS[self.stated.test].resolve()(x, y, np.asarray(codes))
        if math.isnan(found.value):
            return None
        return Sample(found, len(cells[CELL].drop_duplicates()), rows)


@dataclass(frozen=True)
class _Comparison:
    """Two cells, over runs; or two values of an axis, over cells."""

    stated: Stated

    def test(self, population: Population) -> Sample | None:
        """Compare the means of both sides."""
        table = _read(population, self.stated.options.outcome, ranked=False)
        if table is None:
            return None
        sides = [side if isinstance(side, dict) else {"variant": side} for side in self.stated.of]
        sides = [{table.column(name): value for name, value in side.items()} for side in sides]
        parts = [self._select(table.rows, side) for side in sides]
        chosen = {name for side in sides for name in side}
        settings = table.settings(*chosen)
        if all(map(_is_cell, self.stated.of)):
            found = self._over_runs(parts, settings)
        else:
            found = self._over_cells(parts, settings)
        if found is None:
            return None
        rows = pd.concat(parts)
        cells = len(rows[CELL].drop_duplicates())
        if isinstance(found, float):
            return Sample(Outcome(found, null=0.0), cells, rows, diverged_as=table.diverged_as)
        run: Any = TESTS[self.stated.test].resolve()
        within = self.stated.options.within
        outcome = run([[found]]) if within is None else run([found], within)
        return Sample(outcome, cells, rows, diverged_as=table.diverged_as)

    @staticmethod
    def _select(rows: Any, side: dict[str, Any]) -> Any:
        for name, value in side.items():
            same = (
                np.isclose(rows[name], value) if isinstance(value, float) else rows[name] == value
            )
            rows = rows[same]
        return rows

    def _over_runs(self, parts: list[Any], settings: list[str]) -> Contrast | float | None:
        shared = len({*parts[0]["base"]} & {*parts[1]["base"]}) > 0
        strata = self.stated.options.strata
        within = settings + (["base"] * shared if strata is None else list(strata))
        groups = [dict(iter(part.groupby(within, dropna=False)["value"])) for part in parts]
        keys = [key for key in groups[0] if key in groups[1]]
        if not keys:
            return None
        ones, others = ([side[key].to_numpy(dtype=float) for key in keys] for side in groups)
        found = contrasts(others, [ones])
        apart = [float(a.mean() - b.mean()) for a, b in zip(ones, others, strict=True)]
        return found[0] if found else float(np.mean(apart))

    def _over_cells(self, parts: list[Any], settings: list[str]) -> Contrast | float | None:
        keys = [*CELL, *settings]
        means = [part.groupby(keys, dropna=False)["value"].mean() for part in parts]
        apart = (means[0] - means[1]).dropna().groupby(CELL).mean().to_numpy(dtype=float)
        if not len(apart):
            return None
        value, n = float(apart.mean()), len(apart)
        error = float(apart.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
        return Contrast(value, error, n - 1) if error > 1e-12 else value
