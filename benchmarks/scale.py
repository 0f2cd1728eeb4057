"""How far one driver reaches: plans of many trials, and sweeps over the nodes of a cluster.

    uv run python benchmarks/scale.py --write docs/scale.md

Nodes are emulated on this machine, and trials are trivial, as in `benchmarks/overhead.py`, so that
what the driver needs for each shows.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import argument_parser, describe_machine, publish, table
from benchmarks.sweeps import (
    NODES,
    ROOT,
    Sweep,
    drive,
    growth,
    growth_table,
    own_seconds,
    sweeps_table,
)

BAR_TRIAL, BAR_PLAN = 0.15, 5.0
"""Seconds beyond its own work that a trivial trial may cost, and those of a plan of `PLANNED`."""
PLANNED = 10_000
EPOCHS = 11
"""Epochs of the trials of the small sweep when it is run again, for the cost of an epoch."""

WORK = (
    ("a trivial one", 1, 0.03),
    ("6 epochs of 1 s", 6, 1.0),
    ("600 epochs of 10 s", 600, 10.0),
)
"""Trials whose cost to the driver is computed: name, epochs, seconds of each."""

GRID = """\
title: Many trials
claim: None, this measures the plan.
grid:
  genotype: [ENAS]
  variants: {{connections: {{mode: uniform, n: {variants}}}}}
  dataset: [cifar10]
  seed: {seeds}
"""

PLAN = """
import atexit, sys
from benchmarks.measure import peak_resident
from orchestrator.cli.main import main
atexit.register(lambda: print(peak_resident(), file=sys.stderr))
main()
"""
"""The command line, which prints at its end the most bytes that it had in memory."""


@dataclass(frozen=True)
class Cost:
    """The driver's processor seconds for each trial, and for each epoch that a worker reports."""

    trial: float
    epoch: float

    @classmethod
    def between(cls, few: Sweep, more: Sweep, long: Sweep) -> Cost:
        """Separate both by sweeps of few trials, of more, and of few with more epochs."""
        epochs = few.trials * (long.epochs - few.epochs)
        epoch = max(0.0, (long.processor - few.processor) / epochs)
        return cls(growth(few, more)[1] - few.epochs * epoch, epoch)

    def slots(self, epochs: int, seconds: float) -> float:
        """Return how many trials of such epochs, side by side, keep a core of the driver busy."""
        return epochs * seconds / (self.trial + epochs * self.epoch)


def grid(trials: int, cells: int) -> str:
    """Return an experiment of so many trials in YAML: each cell with each of some seeds."""
    return GRID.format(variants=cells - 1, seeds=list(range(trials // cells)))


def plan(trials: int, cells: int) -> tuple[float, list[str]]:
    """Run `nas-sweep plan` on a grid; return its seconds, and its line in a table."""
    print(f"plan: {trials} trials of {cells} cells", file=sys.stderr, flush=True)
    with tempfile.TemporaryDirectory(prefix="nas-sweep-scale-") as folder:
        path = Path(folder, "many.yaml")
        path.write_text(grid(trials, cells), "utf-8")
        command = [sys.executable, "-c", PLAN, "plan", str(path), "--store", f"{folder}/none"]
        start = time.perf_counter()
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        wall = time.perf_counter() - start
    if done.returncode:
        raise RuntimeError(f"planning {trials} trials failed: {done.stderr[-2000:]}")
    memory = int(done.stderr.split()[-1]) / 2**20
    each = f"{1e3 * wall / trials:.2f} ms"
    return wall, [f"{trials:,}", f"{cells:,}", f"{wall:.1f} s", each, f"{memory:,.0f} MiB"]


def limits_table(cost: Cost) -> str:
    """Return how many trials side by side one driver can serve."""
    rows = []
    for name, epochs, seconds in WORK:
        each = f"{1e3 * (cost.trial + epochs * cost.epoch):,.0f} ms"
        rows.append([name, each, f"{cost.slots(epochs, seconds):,.0f}"])
    header = ("a trial", "driver's CPU for it", "trials side by side that keep one core busy")
    return table(header, rows)


def main() -> int:
    """Measure and print tables; return 1 if nas-sweep misses a bar."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--trials", nargs=2, type=int, default=[200, 2000],
        help="of a small and a large sweep (default: 200 2000)")  # fmt: skip
    add("--plans", nargs="+", type=int, default=[1000, PLANNED, 100_000],
        help="trials to plan (default: 1000 10000 100000)")  # fmt: skip
    options = parser.parse_args()
    plans = {trials: plan(trials, max(2, trials // 100)) for trials in options.plans}
    rows = [row for _, row in [*plans.values(), plan(PLANNED, PLANNED)]]
    few, more = (drive("nodes", trials) for trials in sorted(options.trials))
    long = drive("nodes", few.trials, EPOCHS)
    own, own_long = own_seconds(50), own_seconds(20, EPOCHS)
    cost, nodes = Cost.between(few, more, long), f"{NODES} nodes"
    text = "\n\n".join(
        [
            table(("trials planned", "cells", "wall", "a trial", "memory"), rows),
            sweeps_table([(nodes, few, own), (nodes, long, own_long), (nodes, more, own)]),
            growth_table([few, more]),
            f"An epoch takes the driver {1e3 * cost.epoch:.1f} ms.",
            limits_table(cost),
            describe_machine(torch.device("cpu")),
        ]
    )
    if failed := publish(options.write, "scale", text):
        return failed
    beyond = more.beyond(own)
    planned, _ = plans.get(PLANNED, (0.0, []))
    repeated = few.repeated + more.repeated + long.repeated
    missed = beyond > BAR_TRIAL or planned > BAR_PLAN or repeated > 0
    print(
        f"\n{'missed' if missed else 'held'}: {beyond:.3f} s a trial (bar {BAR_TRIAL:g} s), "
        f"{PLANNED:,} planned in {planned:.1f} s (bar {BAR_PLAN:g} s), {repeated} trained twice"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
