"""Stores of made-up trials with known effects, written as the workers write theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from results_schema import layout, tables
from results_schema.genotype import Genotype
from results_schema.store import LocalStore, open_store
from results_schema.tables import POINTS, SURFACES
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.cells.variants import connection_variants, operation_variants

BASES = ("DARTS", "ENAS", "AmoebaNet", "NASNet")
EPOCHS = 30
PAPER_SIZE = NetworkSpec()
NOW = datetime(2020, 4, 26, tzinfo=UTC)
_ZEROS: dict[str, Any] = {"string": "", "int32": 0, "int64": 0, "double": 0.0, "bool": False}


class Trial:
    """What a made-up trial is, for the functions that say how it went.

    Attributes:
        base: Its base.
        variant: Its cell's name.
        spec: The whole.
        width: Over live nodes, from -1 (narrowest of the base's cells) to 1 (widest).
        rng: Its own noise.
    """

    def __init__(self, base: str, variant: str, index: int, spec: TrialSpec, width: float) -> None:
        self.base, self.variant, self.index, self.spec = base, variant, index, spec
        self.width = width
        self.rng = np.random.default_rng([spec.seed, *spec.trial_id.encode()])


def synthetic_trials(
    *,
    bases: Iterable[str] = BASES,
    connections: str | None = "paper13",
    operations: bool = False,
    datasets: Iterable[str] = ("cifar10",),
    rates: Iterable[float] = (0.025,),
    seeds: Iterable[int] = (0,),
    epochs: int = EPOCHS,
    network: NetworkSpec = PAPER_SIZE,
    recipe: Mapping[str, Any] | None = None,
) -> list[Trial]:
    """Trials of bases and their variants."""
    found = []
    for base in bases:
        cells: list[tuple[str, int, Genotype]] = [(base, 0, named(base))]
        if connections:
            cells += [(v.name, v.index, v.genotype) for v in connection_variants(base, connections)]
        if operations:
            cells += [
                (v.name if v.name.startswith("OPS") else f"ops {v.name}", v.index, v.genotype)
                for v in operation_variants(base, "paper10")
            ]
        widths = np.array([genotype.normal.width for _, _, genotype in cells])
        scaled = 2 * (widths - widths.min()) / max(float(np.ptp(widths)), 1) - 1
        for (name, index, genotype), width in zip(cells, scaled, strict=True):
            for dataset in datasets:
                for rate in rates:
                    for seed in seeds:
                        how = Recipe(**{"epochs": epochs, **(recipe or {})})
                        spec = TrialSpec(genotype, dataset, 1, network, how, rate, seed)
                        found.append(Trial(base, name, index, spec, float(width)))
    return found


def curve(speed: float, *, final: float = 0.9) -> np.ndarray:
    """Test accuracies of `EPOCHS` epochs that rise to `final`, the faster the larger `speed`."""
    epochs = np.arange(1, EPOCHS + 1)
    return final * (1 - np.exp(-speed * epochs))


def synthetic_store(
    folder: Path,
    trials: Iterable[Trial],
    accuracies: Callable[[Trial], np.ndarray],
    *,
    diverged: Callable[[Trial], bool] = lambda trial: False,
    experiment: str = "made-up",
    packed: bool = True,
    profile: str | None = None,
    in_place_of: Mapping[str, str] | None = None,
) -> LocalStore:
    """Writes trials whose test accuracy by epoch is as given; a diverged one ends early.

    They share one file of a table if `packed`, which is quicker, else each has its own. A profile
    puts datasets `in_place_of` those that the experiment names.
    """
    store = open_store(folder)
    members, ended, epochs = [], [], []
    for trial in trials:
        told, bad = accuracies(trial), diverged(trial)
        if bad:
            told = np.append(told[: max(1, len(told) // 10)], np.nan)
        common = _common(trial)
        epochs += [
            METRIC | {"trial_id": common["trial_id"], "epoch": i, "test_accuracy": float(a)}
            for i, a in enumerate(told, start=1)
        ]
        ended.append(
            blank(tables.TRIALS)
            | common
            | {"status": "diverged" if bad else "done", "epochs": len(told)}
            | {"test_accuracy": float(told[-1]), "late_test_accuracy": float(told[-10:].mean())}
            | {"spec": trial.spec.to_json(), "started_at": NOW, "ended_at": NOW}
        )
        members.append(
            common
            | trial.spec.genotype.shape
            | {"experiment": experiment, "profile": profile, "base": trial.base}
            | {"variant": trial.variant, "index": trial.index, "axes": None}
            | {"named_dataset": (in_place_of or {}).get(common["dataset"], common["dataset"])}
        )
    for schema, rows, key in (
        (tables.TRIALS, ended, layout.trial),
        (tables.METRICS, epochs, layout.metrics),
    ):
        for name in ["all"] if packed else [row["trial_id"] for row in ended]:
            mine = [row for row in rows if packed or row["trial_id"] == name]
            store.put(key(name), tables.to_parquet(mine, schema))
    store.put(layout.members(experiment), tables.to_parquet(members, tables.MEMBERS))
    return store


def _common(trial: Trial) -> dict[str, Any]:
    spec = trial.spec
    return {
        "dataset": spec.dataset,
        "learning_rate": spec.learning_rate,
        "seed": spec.seed,
        "width": float(spec.genotype.width),
        "depth": spec.genotype.depth,
        "trial_id": spec.trial_id,
    }


def add_surface(
    store: LocalStore, trial: Trial, kind: str, *, pair: int = 0, points: Any = (), **numbers: Any
) -> None:
    """Adds a finished surface of a trial, with the numbers of its row and of its points."""
    name = f"{trial.spec.trial_id}@e{EPOCHS}-{kind}-{pair:010d}"
    common = {"surface_id": name, "trial_id": trial.spec.trial_id, "kind": kind}
    row = {"status": "done", "epoch": EPOCHS, "pair": pair, "started_at": NOW, "ended_at": NOW}
    row = blank(SURFACES) | common | row | numbers
    store.put(layout.surface(name), tables.to_parquet([row], SURFACES))
    if points:
        rows = [
            blank(POINTS) | common | {"finished_at": NOW, "alpha": a, "beta": b, "variance": v}
            for a, b, v in points
        ]
        store.put(layout.points(name), tables.to_parquet(rows, POINTS))


def blank(schema: Any) -> dict[str, Any]:
    """A row of zeros, and nulls where they may be."""
    return {f.name: None if f.nullable else _ZEROS.get(str(f.type)) for f in schema}


METRIC = blank(tables.METRICS) | {"finished_at": NOW}
