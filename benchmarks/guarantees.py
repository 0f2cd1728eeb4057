"""What the store's guarantees cost: a trial of the laptop profile with them and without.

uv run python benchmarks/guarantees.py

With them is `train` as a launch calls it: lease and heartbeats, the metrics rewritten and the log
kept after each epoch, checkpoints as by default, fsync, the trial's row. Without them is a bare
loop over the same epochs, which writes nothing. Both run in turns, in one process, on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from orchestrator.config.experiment import load_experiment
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers.training import device as devices
from workers.training.attempt import Stopping
from workers.training.setup import set_up
from workers.training.trial import train, train_epoch


@dataclass(frozen=True)
class Time:
    """Of one trial, in seconds: on the clock, of the processor, and inside its epochs alone."""

    wall: float
    processor: float
    epochs: float


def timed(run: Callable[[], float]) -> Time:
    """Times a function that returns how long its epochs took."""
    wall, processor = time.perf_counter(), time.process_time()
    epochs = run()
    return Time(time.perf_counter() - wall, time.process_time() - processor, epochs)


def with_guarantees(spec: TrialSpec) -> float:
    """The trial as a worker trains it, into a new store."""
    seconds: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        store = open_store(folder)
        outcome = train(
            spec, store, device="cpu", on_epoch=lambda row: seconds.append(row["seconds"])
        )
    if outcome.status != "done":
        raise RuntimeError(outcome.reason)
    return sum(seconds)


def without_guarantees(spec: TrialSpec) -> float:
    """The same epochs, and nothing else."""
    device = devices.choose("cpu")
    data, engine = set_up(spec, device)
    epochs = range(1, spec.recipe.epochs + 1)
    never = Stopping()
    return sum(train_epoch(spec, epoch, engine, data, device, never)["seconds"] for epoch in epochs)


def spread(name: str, ratios: list[float]) -> None:
    """Prints what the guarantees add, of all repetitions."""
    cost = [100 * (ratio - 1) for ratio in ratios]
    print(f"{name}: {statistics.median(cost):+.1f} % ({min(cost):+.1f} to {max(cost):+.1f} %)")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="What the guarantees cost.")
    parser.add_argument("--experiment", default="experiments/fig9.yaml")
    parser.add_argument("--profile", default="laptop")
    parser.add_argument("--epochs", type=int, help="the profile's, if not given")
    parser.add_argument("--repetitions", type=int, default=7)
    chosen = parser.parse_args()
    spec = load_experiment(chosen.experiment, profile=chosen.profile).members()[0].spec
    if chosen.epochs:
        spec = replace(spec, recipe=replace(spec.recipe, epochs=chosen.epochs))
    print(f"{spec.trial_id}: {spec.recipe.epochs} epochs, torch {torch.__version__}")
    short = replace(spec, recipe=replace(spec.recipe, epochs=1))
    with_guarantees(short)
    without_guarantees(short)
    pairs: list[tuple[Time, Time]] = []
    for number in range(chosen.repetitions):
        first = number % 2 == 0
        one = timed(lambda: with_guarantees(spec)) if first else None
        bare = timed(lambda: without_guarantees(spec))
        kept = one or timed(lambda: with_guarantees(spec))
        pairs.append((kept, bare))
        print(f"with {kept.wall:.2f} s, without {bare.wall:.2f} s", flush=True)
    spread("on the clock", [kept.wall / bare.wall for kept, bare in pairs])
    spread("of the processor's time", [kept.processor / bare.processor for kept, bare in pairs])
    spread(
        "time outside of the epochs, with less without",
        [
            1 + (kept.wall - kept.epochs - bare.wall + bare.epochs) / bare.epochs
            for kept, bare in pairs
        ],
    )


if __name__ == "__main__":
    main()
