"""What the store's guarantees cost: a trial of the laptop profile with them and without.

    uv run python benchmarks/guarantees.py

With them, `train` runs as a launch calls it: lease and heartbeats, the metrics rewritten and the
log kept after each epoch, checkpoints as by default, fsync, the trial's row. Without them, a bare
loop runs the same epochs and writes nothing. Both alternate in one process, on one thread.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import argument_parser
from benchmarks.sweeps import ROOT, train_bare
from orchestrator.config.experiment import load_experiment
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train


def measure(run: Callable[[TrialSpec], float], spec: TrialSpec) -> tuple[float, float, float]:
    """Return a trial's seconds: elapsed, of the processor, and inside its epochs."""
    wall, processor = time.perf_counter(), time.process_time()
    epochs = run(spec)
    return time.perf_counter() - wall, time.process_time() - processor, epochs


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
        pairs.append([seconds[kind] for kind in kinds])
        print("with {:.2f} s, without {:.2f} s".format(*(one[0] for one in pairs[-1])), flush=True)
    wall, processor, epochs = np.moveaxis(np.array(pairs), 2, 0)  # [repetition, kind] each
    outside = wall - epochs
    for name, added in {
        "on the clock": wall[:, 0] / wall[:, 1] - 1,
        "of the processor's time": processor[:, 0] / processor[:, 1] - 1,
        "time outside of the epochs, with less without": (outside[:, 0] - outside[:, 1])
        / epochs[:, 1],
    }.items():
        percent = 100 * np.array([np.median(added), added.min(), added.max()])
        print("{}: {:+.1f} % ({:+.1f} to {:+.1f} %)".format(name, *percent))


if __name__ == "__main__":
    main()
