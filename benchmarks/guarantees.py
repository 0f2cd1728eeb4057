"""What the store's guarantees cost: a trial of the laptop profile with them and without.

    uv run python benchmarks/guarantees.py

With them, `train` runs as a launch calls it: lease and heartbeats, the metrics rewritten and the
log kept after each epoch, checkpoints as by default, fsync, the trial's row. Without them, a bare
loop runs the same epochs and writes nothing. Both alternate in one process, on one thread.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import argument_parser
from benchmarks.sweeps import ROOT, train_bare
from orchestrator.config.experiment import load_experiment
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


class Seconds(NamedTuple):
    """A trial's seconds: elapsed, of the processor, and inside its epochs."""

    wall: float
    processor: float
    epochs: float


def measure(run: Callable[[TrialSpec], float], spec: TrialSpec) -> Seconds:
    """Time a function that returns the seconds inside its epochs."""
    wall, processor = time.perf_counter(), time.process_time()
    epochs = run(spec)
    return Seconds(time.perf_counter() - wall, time.process_time() - processor, epochs)


def train_guarded(spec: TrialSpec) -> float:
    """Train as a worker does, into a new store; return the seconds inside the epochs."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        outcome = train(
            spec, store, device="cpu", on_epoch=lambda row: seconds.append(row["seconds"])
        )
    if outcome.status != "done":
        raise RuntimeError(outcome.reason)
    return sum(seconds)


def main() -> None:
    """Measure, and print what the guarantees add."""
    parser = argument_parser(__doc__, write=False)
    parser.add_argument("--repetitions", type=int, default=7, help="default: 7")
    options = parser.parse_args()
    spec = load_experiment(ROOT / "experiments/fig9.yaml", profile="laptop").members()[0].spec
    print(f"{spec.trial_id}: {spec.recipe.epochs} epochs, torch {torch.__version__}")
    short = replace(spec, recipe=replace(spec.recipe, epochs=1))
    kinds = (train_guarded, train_bare)
    for kind in kinds:
        kind(short)
    pairs = []
    for number in range(options.repetitions):
        order = kinds if number % 2 == 0 else kinds[::-1]
        seconds = {kind: measure(kind, spec) for kind in order}
        guarded, bare = seconds[train_guarded], seconds[train_bare]
        pairs.append((guarded, bare))
        print(f"with {guarded.wall:.2f} s, without {bare.wall:.2f} s", flush=True)
    for name, added in {
        "on the clock": [one.wall / bare.wall - 1 for one, bare in pairs],
        "of the processor's time": [one.processor / bare.processor - 1 for one, bare in pairs],
        "time outside of the epochs, with less without": [
            (one.wall - one.epochs - bare.wall + bare.epochs) / bare.epochs for one, bare in pairs
        ],
    }.items():
        percent = [100 * share for share in (statistics.median(added), min(added), max(added))]
        print("{}: {:+.1f} % ({:+.1f} to {:+.1f} %)".format(name, *percent))


if __name__ == "__main__":
    main()
