"""A store of many trained trials, made up, for the benchmarks of what reads one."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np

from results_schema import layout, tables
from results_schema.store import LocalStore
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named

EXPERIMENT = "large"
BASES = ("DARTS", "ENAS", "AmoebaNet", "NASNet")
NOW = datetime(2020, 4, 26, tzinfo=UTC)


def parse_arguments(description: str | None, rounds: int) -> argparse.Namespace:
    """Return the options of a benchmark of such a store, with that default of rounds."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("trials", 1000), ("epochs", 600), ("rounds", rounds)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    return parser.parse_args()


@contextlib.contextmanager
def large_store(trials: int, epochs: int) -> Iterator[LocalStore]:
    """Write a store of so many trials for the time of the block, and print its size."""
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(f"{folder}/results")
        members = []
        for number in range(trials):
            spec = _spec(number, epochs)
            rows = _metrics(spec, number)
            store.put(layout.metrics(spec.trial_id), tables.to_parquet(rows, tables.METRICS))
            row = _ended(spec, rows[-1])
            store.put(layout.trial(spec.trial_id), tables.to_parquet([row], tables.TRIALS))
            members.append(_member(spec, number))
        store.put(layout.members(EXPERIMENT), tables.to_parquet(members, tables.MEMBERS))
        load = os.getloadavg()[0]
        print(f"{trials} trials of {epochs} epochs: {trials * epochs:,} rows; load {load:.1f}")
        yield store


def _spec(number: int, epochs: int) -> TrialSpec:
    return TrialSpec(
        genotype=named(BASES[number % len(BASES)]),
        dataset="cifar10",
        preprocessing=1,
        network=NetworkSpec(),
        recipe=Recipe(epochs=epochs),
        learning_rate=0.025,
        seed=number,
    )


def _metrics(spec: TrialSpec, number: int) -> list[dict[str, object]]:
    """Return a row for each epoch, with losses that fall as those of real trials do."""
    epochs = spec.recipe.epochs
    noise = np.random.default_rng(number).normal(0, 0.02, (epochs, 4))
    slope = 20 + number % 50
    return [
        {
            "trial_id": spec.trial_id,
            "epoch": epoch,
            "rate": 0.0125 * (1 + math.cos(math.pi * (epoch - 1) / epochs)),
            "train_loss": 2.3 * math.exp(-epoch / slope) + abs(float(a)),
            "train_accuracy": 1 - 0.9 * math.exp(-epoch / slope),
            "test_loss": 0.2 + 2.1 * math.exp(-epoch / slope) + abs(float(b)),
            "test_accuracy": 0.95 - 0.85 * math.exp(-epoch / slope) + 0.1 * float(c),
            "grad_norm": 1 + abs(float(d)),
            "clip_rate": 0.0,
            "seconds": 10.0 + float(d),
            "images_per_second": 5000.0 + float(c),
            "peak_memory": 10**9,
            "finished_at": NOW + timedelta(seconds=10 * epoch),
        }
        for epoch, (a, b, c, d) in enumerate(noise, start=1)
    ]


def _ended(spec: TrialSpec, last: dict[str, object]) -> dict[str, object]:
    cell = spec.genotype
    row: dict[str, object] = {
        "trial_id": spec.trial_id, "status": "done", "dataset": spec.dataset,
        "learning_rate": spec.learning_rate, "seed": spec.seed, "precision": spec.precision,
        "recipe_version": spec.recipe.version, "width": cell.width, "depth": cell.depth,
        "parameters": 3_300_000, "epochs": spec.recipe.epochs, "spec": spec.to_json(),
        "best_test_accuracy": last["test_accuracy"], "late_test_accuracy": last["test_accuracy"],
        "exit_reason": "made up", "started_at": NOW, "ended_at": NOW, "train_seconds": 6000.0,
        "attempts": 1, "form": "eager", "pack_size": 1, "host": "made-up", "device": "none",
        "gpu": False, "deterministic": False, "threads": 1, "python": "3", "torch": "2",
        "release": "0",
    }  # fmt: skip
    row |= {name: last[name] for name in ("train_loss", "test_loss", "test_accuracy")}
    return {field.name: row.get(field.name) for field in tables.TRIALS}


def _member(spec: TrialSpec, number: int) -> dict[str, object]:
    base, index = BASES[number % len(BASES)], number // len(BASES) % 14
    return {
        "experiment": EXPERIMENT, "profile": None, "base": base,
        "variant": f"seed {index}" if index else base, "index": index, "named_dataset": "cifar10",
        "dataset": "cifar10", "learning_rate": 0.025, "seed": spec.seed,
        "trial_id": spec.trial_id, **spec.genotype.shape,
    }  # fmt: skip
