"""Size, coverage and power of every main measure, in studies whose truth is known.

    python -m pytest -m long tests/orchestrator/paper/statistics/test_error_rates.py

writes the table of docs/claims.md to error-rates.md. In rough studies values tie, cells have 1 to 3
seeds, a run in twenty diverges, and each cell is trained on two data sets. The environment
variable STUDIES sets the number of studies of each line.
"""

import math
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from orchestrator.figures.evidence import ADAPTED, BASE, CONNECTIONS, OPERATIONS
from orchestrator.paper.claims.measures import among_variants, over, peak_over
from orchestrator.paper.claims.registry import find_claim
from orchestrator.paper.claims.training import _ORDER

pytestmark = [pytest.mark.long, pytest.mark.timeout(3600)]

STUDIES = int(os.environ.get("STUDIES", "2000"))
SIZE, COVERAGE = 0.07, 0.93
TABLE = Path(os.environ.get("ERROR_RATES", "error-rates.md"))
HEAD = "| measure | cells | studies | size | coverage | at the smallest effect | power |\n"

# Widths of the variants of each base, as Table 2 has them.
DARTS = np.repeat([2.0, 2.5, 3.0, 3.5], [3, 5, 3, 2])
ENAS = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5], [2, 2, 2, 2, 5])
AMOEBA = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5], [4, 3, 3, 1, 2])
MANY = np.repeat([1.5, 2.0, 2.5, 3.0, 3.5, 4.0], [6, 10, 14, 12, 7, 3])
BASES = {"13 of one base": [DARTS], "52 of one base": [MANY], "4 × 13": [DARTS, ENAS, AMOEBA, ENAS]}


class Trials:
    """Trials as claims read them: those of `Population`."""

    def __init__(self, rows):
        self.trials = rows

    def at_rate(self, rate=0.025):
        return self.trials[self.trials["learning_rate"] == rate]


def runs(cells, rng, *, rough, noise=0.5, seeds=1, worst=-math.inf):
    """Return trials of cells: each has `true` and is repeated over seeds and data sets."""
    counts = rng.integers(1, 4, len(cells)) if rough else np.full(len(cells), seeds)
    parts = []
    for dataset in ("cifar10", "cifar100")[: 1 + rough]:
        part = cells.loc[cells.index.repeat(counts)].assign(dataset=dataset, setting=dataset)
        part["seed"] = part.groupby(level=0).cumcount()
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    rows["value"] = rows["true"] + noise * rng.standard_normal(len(rows))
    lost = rng.random(len(rows)) < 0.05 * rough
    if rough:
        rows["value"] = (2 * rows["value"]).round() / 2
    rows["value"] = rows["value"].mask(lost, worst)
    rows["status"] = np.where(lost, "diverged", "done")
    rows["named_dataset"], rows["learning_rate"] = rows["dataset"], 0.025
    rows["trial_id"] = [f"t{i}" for i in range(len(rows))]
    return rows.assign(final=rows["value"], area_20=rows["value"], epochs_90=-rows["value"])


def variants(design, copies=1):
    """Return the connection variants of a design; many copies show what is true of all."""
    parts = [
        pd.DataFrame({"base": f"b{number}", "width": np.repeat(widths, copies)})
        for number, widths in enumerate(BASES[design])
    ]
    cells = pd.concat(parts, ignore_index=True)
    return cells.assign(variant=[f"v{i}" for i in range(len(cells))], kind=CONNECTIONS, index=1)


def within(cells, values):
    """Return normal scores of the order of values within bases, ties broken at random."""
    ranks = values.groupby(cells["base"]).rank(method="first")
    return stats.norm.ppf((ranks - 0.5) / cells.groupby("base")["base"].transform("size"))


def with_trend(design, rng, strength, rough, copies=1):
    cells = variants(design, copies)
    noise = math.sqrt(1 - strength**2) * rng.standard_normal(len(cells))
    cells["true"] = strength * within(cells, cells["width"]) + noise
    return runs(cells, rng, rough=rough)


def with_peak(design, rng, strength, rough, copies=1):
    """A plateau without an effect: it rises steeply, and then no more."""
    cells = variants(design, copies)
    u = cells["width"].groupby(cells["base"]).rank(pct=True)
    shape = -8 * strength * (u - 0.5) ** 2 if strength else 2 * np.minimum(u, 0.4)
    return runs(cells.assign(true=shape + 0.5 * rng.standard_normal(len(cells))), rng, rough=rough)


def with_lead(design, rng, strength, rough, copies=1):
    cells = variants(design).assign(true=lambda c: rng.standard_normal(len(c)))
    if copies > 1:  # what is true of bases drawn anew
        many = [with_lead(design, rng, strength, rough) for _ in range(copies // 10)]
        return pd.concat([m.assign(base=m["base"] + f"-{i}") for i, m in enumerate(many)])
    bases = cells.drop_duplicates("base").assign(variant="base", kind=BASE, index=0)
    bases["true"] = strength + rng.standard_normal(len(bases))
    return runs(pd.concat([cells, bases], ignore_index=True), rng, rough=rough)


def with_spread(design, rng, strength, rough, copies=1):
    cells = variants(design, copies)
    other = cells.assign(kind=OPERATIONS, variant="ops " + cells["variant"])
    kinds = pd.concat([cells, other.groupby("base").head(10 * copies)], ignore_index=True)
    spread = np.where(kinds["kind"] == CONNECTIONS, math.exp(strength), 1.0)
    kinds["true"] = spread * rng.standard_normal(len(kinds))
    return runs(kinds, rng, rough=rough, noise=0.1)


def with_failures(design, rng, strength, rough, copies=1):
    cells = variants(design, copies)
    narrow = cells["width"] < cells.groupby("base")["width"].transform("median")
    rates = 0.25 + 0.1 * cells["base"].str[1:].astype(int)
    odds = rates / (1 - rates) * np.where(narrow, strength, 1.0)
    fails = rng.random(len(cells)) < odds / (1 + odds)
    rows: Any = runs(cells.assign(true=np.where(fails, 0.1, 0.9)), rng, rough=rough, noise=0.0)
    base = cells.drop_duplicates("base").assign(true=0.9, variant="base", kind=BASE, index=0)
    base = runs(base, rng, rough=False, noise=0.0)
    base = pd.concat([base, base.assign(dataset="cifar100", setting="cifar100")])
    both = pd.concat([rows.assign(learning_rate=0.25), base], ignore_index=True)
    lost = rows["status"] == "diverged"
    both["status"] = "done"  # a run that diverges fails, and the truth would be another
    return both.assign(test_accuracy=both["value"].where(~np.isinf(both["value"]), 0.9)).drop(
        index=rows.index[lost]
    )


def named(names, base, rng, true, rough, *, seeds, noise=1.0, kinds=None):
    cells = pd.DataFrame({"base": base, "variant": names, "true": true, "width": 2.0, "index": 1})
    cells["kind"] = kinds if kinds is not None else CONNECTIONS
    rows = runs(cells, rng, rough=False, seeds=seeds, noise=noise)
    if not rough:
        return rows
    more = runs(cells, rng, rough=False, seeds=seeds - 1, noise=noise)
    both = pd.concat([rows, more.assign(dataset="cifar100", setting="cifar100")], ignore_index=True)
    both["trial_id"] = [f"t{i}" for i in range(len(both))]
    tied = (2 * both["final"]).round() / 2
    lost = rng.random(len(both)) < 0.05
    both["status"] = np.where(lost, "diverged", "done")
    return both.assign(final=tied.mask(lost, -math.inf), area_20=tied.mask(lost, -math.inf))


FIVE = ["DARTS", "CONN1", "CONN2", "CONN3", "CONN4"]


def with_first(design, rng, strength, rough, copies=1):
    """One cell leads all rivals by as much; without an effect it ties with one and leads three."""
    true = [strength, 0, 0, 0, 0] if strength else [3.0, 3.0, 0, 0, 0]
    return named(FIVE, "DARTS", rng, true, rough, seeds=int(design[0]))


def with_order(design, rng, strength, rough, copies=1):
    rows = named(
        _ORDER, "DARTS", rng, np.arange(3) * strength, rough, seeds=int(design[0]) * copies
    )
    return rows.assign(learning_rate=0.0025)


def with_best(design, rng, strength, rough, copies=1, base="b0", sign=1):
    cells = 13 if "13" in design else 52
    parts = []
    for number in range(4 if design.startswith("4") else 1):
        lead = np.where(np.arange(cells + 1) == 1, strength, np.where(sign > 0, 0.0, -strength))
        lead[0] = 0.0
        names = [f"v{i}" for i in range(cells + 1)]
        kinds = [BASE, *[CONNECTIONS] * cells]
        name = base if number == 0 else f"b{number}"
        parts.append(
            named(names, name, rng, 0.9 + lead / 100, False, seeds=3, noise=0.002, kinds=kinds)
        )
    rows = pd.concat(parts, ignore_index=True)
    rows["trial_id"] = [f"t{i}" for i in range(len(rows))]
    if rough:
        rows["final"] = (rows["final"] * 500).round() / 500
        rows = rows[(rng.random(len(rows)) > 0.2) | (rows["seed"] == 0)]
    return rows


def with_gain(design, rng, strength, rough, copies=1):
    bases = [f"b{i}" for i in range(5 * copies)]
    parts = []
    for kind, ending, gain in ((BASE, "", 0.0), (ADAPTED, "_ADAPT", strength / 100)):
        names = [base + ending for base in bases]
        true = 0.9 + gain + 0.003 * rng.standard_normal(len(bases))
        parts += [
            named([name], name, rng, [t], False, seeds=int(rng.integers(1, 4)) if rough else 1,
                  noise=0.002, kinds=kind)
            for name, t in zip(names, true, strict=True)
        ]  # fmt: skip
    rows = pd.concat(parts, ignore_index=True)
    rows["trial_id"] = [f"t{i}" for i in range(len(rows))]
    accuracy = (rows["final"] * 500).round() / 500 if rough else rows["final"]
    lost = rng.random(len(rows)) < 0.02 * rough
    status = np.where(lost, "diverged", "done")
    return rows.assign(
        test_accuracy=accuracy, status=status, dataset="cifar100", named_dataset="cifar100"
    )


def claim(name):
    return find_claim(name).main


def column(trials):
    return trials.at_rate()


def largest(strength):
    return strength


TREND, PLACE = over("width", column, "value", ""), among_variants(column, "value", "")
CASES = {
    # name: measure, studies, strength at the smallest effect (None: sought), its value, designs
    "trend over width": (TREND, with_trend, None, BASES),
    "place among variants": (PLACE, with_lead, None, BASES),
    "peak at middle width": (peak_over("width", column, "value", ""), with_peak, None, BASES),
    "spread of operations": (claim("operations-alike"), with_spread, None, BASES),
    "odds of failing": (claim("narrow-fail-at-high-rate"), with_failures, 3.0, BASES),
    "first of five cells": (claim("darts-ends-best"), with_first, None, ("6 seeds", "9 seeds")),
    "order of three cells": (claim("order-at-low-rate"), with_order, None, ("3 seeds", "6 seeds")),
    "lead of the best variant": (claim("some-variants-beat-base"), with_best, 0.5, BASES),
    "lead over all variants": (
        claim("none-beats-amoebanet"),
        partial(with_best, base="AmoebaNet", sign=-1),
        0.5,
        ("13 of one base", "52 of one base"),
    ),
    "adapted cells": (claim("adapted-better-cifar100"), with_gain, 0.5, ("5 architectures",)),
}
LINES = [(name, design, rough) for name in CASES for design in CASES[name][3] for rough in (0, 1)]


def sought(measure, make, design, rough):
    """Return the strength whose effect on very many cells is the smallest of interest."""
    goal = measure.smallest
    low, middle, high = 0.0, 0.0, 0.99 if make is with_trend else 4.0
    for _ in range(12):
        middle = (low + high) / 2
        truth = effect(measure, make, design, middle, rough)
        low, high = (middle, high) if truth < goal else (low, middle)
    return middle


def effect(measure, make, design, strength, rough):
    """Return the effect that very many cells show."""
    if make is with_first:
        return stats.norm.cdf(strength / math.sqrt(2)) if strength else 0.5
    rows = make(design, np.random.default_rng(7), strength, bool(rough), 200)
    return measure.test(Trials(rows)).outcome.value


def truth_of(name, measure, make, design, strength, rough):
    fixed = {"odds of failing": strength or 1.0, "lead of the best variant": strength}
    fixed |= {"lead over all variants": 0.0 if not strength else 0.5, "adapted cells": strength}
    return fixed[name] if name in fixed else effect(measure, make, design, strength, rough)


@pytest.fixture(scope="module", autouse=True)
def table():
    TABLE.write_text(HEAD + "| --- | --- | --- | ---: | ---: | ---: | ---: |\n")
    yield
    print(TABLE.read_text())


@pytest.mark.parametrize(("name", "design", "rough"), LINES)
def test_size_and_coverage_are_nominal(name, design, rough):
    measure, make, strength, _ = CASES[name]
    if strength is None:
        strength = sought(measure, make, design, rough)
    none = 1.0 if name == "odds of failing" else 0.0
    rng = np.random.default_rng([len(name), len(design), rough])
    shares = []
    for planted in (none, strength):
        truth = truth_of(name, measure, make, design, planted, rough)
        found = []
        for _ in range(STUDIES):
            sample = measure.test(Trials(make(design, rng, planted, bool(rough))))
            found.append(sample.outcome if sample else None)
        known = [one for one in found if one and not math.isnan(one.low)]
        held = np.mean([one.low - 1e-9 <= truth <= one.high + 1e-9 for one in known])
        wrong = [one.p < 0.05 and (planted != none or one.value > one.null or name[:4] != "peak")
                 for one in known]  # fmt: skip
        shares += [sum(wrong) / len(found), held]
    size, covered, power, covered_there = shares
    line = [name, design, "rough" if rough else "plain"]
    numbers = [f"{100 * share:.1f} %" for share in (size, covered, covered_there, power)]
    with TABLE.open("a") as file:
        file.write("| " + " | ".join([*line, *numbers]) + " |\n")
    assert size <= SIZE
    assert min(covered, covered_there) >= COVERAGE


@pytest.mark.parametrize("planned", [60, 100, 600])
def test_cells_that_differ_in_speed_alone_do_not_differ_in_stability(planned):
    from orchestrator.paper.claims.population import convergence

    rng, wrong = np.random.default_rng(planned), []
    cells = variants("4 × 13")
    epochs = np.arange(1, planned + 1)
    for _ in range(min(STUDIES, 400)):
        speed = 10 / planned * (1 + 0.3 * within(cells, cells["width"])).clip(0.2)
        curves = 0.9 * (1 - np.exp(-np.outer(speed, epochs)))
        curves += 0.005 * rng.standard_normal(curves.shape)
        metrics = pd.DataFrame(
            {"trial_id": np.repeat([f"t{i}" for i in range(len(cells))], planned),
             "epoch": np.tile(epochs, len(cells)), "test_accuracy": curves.ravel()}
        )  # fmt: skip
        rows = runs(cells.assign(true=0.0), rng, rough=False).assign(planned=planned, target=0.9)
        rows = rows.drop(columns=["final", "area_20", "epochs_90"])
        rows = rows.merge(convergence(metrics, rows), on="trial_id")
        population: Any = Trials(rows)
        sample: Any = claim("wider-stabler").test(population)
        wrong.append(sample.outcome.p < 0.05)
    assert np.mean(wrong) <= SIZE
