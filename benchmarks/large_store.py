"""A store of many trained trials, made up, for the benchmarks of what reads one."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import numpy as np

from benchmarks.measure import argument_parser
from results_schema import layout, tables
from results_schema.store import LocalStore

sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))
from synthetic_stores import METRIC, NOW, Trial, blank, synthetic_trials

EXPERIMENT = "large"


def parse_arguments(description: str | None, rounds: int) -> argparse.Namespace:
    """Return the options of a benchmark of such a store, with that default of rounds."""
    parser = argument_parser(description, write=False)
    for name, default in (("trials", 1000), ("epochs", 600), ("rounds", rounds)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default: {default}")
    return parser.parse_args()


@contextlib.contextmanager
def large_store(trials: int, epochs: int) -> Iterator[LocalStore]:
    """Write a store of so many trials for the time of the block, and print its size."""
    made = synthetic_trials(seeds=range(1 + trials // 56), epochs=epochs)[:trials]
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(f"{folder}/results")
        members = []
        for trial in made:
            spec, metrics = trial.spec, _metrics(trial, epochs)
            common = {
                "trial_id": spec.trial_id, "dataset": spec.dataset, "seed": spec.seed,
                "learning_rate": spec.learning_rate, **spec.genotype.shape,
            }  # fmt: skip
            row = blank(tables.TRIALS) | metrics[-1] | common
            row |= {"status": "done", "epochs": epochs, "spec": spec.to_json()}
            row |= {"started_at": NOW, "ended_at": NOW}
            row = {field.name: row[field.name] for field in tables.TRIALS}
            store.put(layout.metrics(spec.trial_id), tables.to_parquet(metrics, tables.METRICS))
            store.put(layout.trial(spec.trial_id), tables.to_parquet([row], tables.TRIALS))
            named = {"base": trial.base, "variant": trial.variant, "index": trial.index}
            about = {"experiment": EXPERIMENT, "profile": None, "named_dataset": spec.dataset}
            about["axes"] = None
            members.append({**about, **named, **common})
        store.put(layout.members(EXPERIMENT), tables.to_parquet(members, tables.MEMBERS))
        load = os.getloadavg()[0]
        print(f"{trials} trials of {epochs} epochs: {trials * epochs:,} rows; load {load:.1f}")
        yield store


def _metrics(trial: Trial, epochs: int) -> list[dict[str, object]]:
    """Return a row for each epoch, with losses that fall as those of real trials do."""
    slope = 20 + trial.spec.seed % 50
    return [
        METRIC
        | {
            "trial_id": trial.spec.trial_id,
            "epoch": epoch,
            "train_loss": 2.3 * left + abs(noise[0]),
            "train_accuracy": 1 - 0.9 * left,
            "test_loss": 0.2 + 2.1 * left + abs(noise[1]),
            "test_accuracy": 0.95 - 0.85 * left + 0.1 * noise[2],
            "grad_norm": 1 + abs(noise[3]),
            "finished_at": NOW + timedelta(seconds=10 * epoch),
        }
        for epoch in range(1, epochs + 1)
        for left, noise in [(float(np.exp(-epoch / slope)), trial.rng.normal(0, 0.02, 4).tolist())]
    ]
