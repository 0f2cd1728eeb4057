"""How far one driver reaches: plans of many trials, and sweeps over the nodes of a cluster.

    uv run python benchmarks/scale.py --write docs/scale.md

Nodes are emulated on this machine (`benchmarks.sweeps`), and trials are trivial, as in
`benchmarks/overhead.py`, so that what the driver takes for each shows.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

# Where `benchmarks` lies.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Machine, publish, table
from benchmarks.overhead import ROOT, Growth, drive, growth_table
from benchmarks.sweeps import NODES, Sweep, own_seconds
from orchestrator.output.text import cores

BAR_TRIAL, BAR_PLAN = 0.15, 5.0
"""Seconds beyond its own work that a trivial trial may cost, and those of a plan of `PLANNED`."""
PLANNED = 10_000

WORK = (
    ("a trivial one", 1, 0.03),
    ("6 epochs of 1 s", 6, 1.0),
    ("600 epochs of 10 s", 600, 10.0),
)
"""Trials whose driver is reckoned: in words, epochs, seconds of each."""

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
"""The command line, which ends with the most bytes that it had in memory."""


@dataclass(frozen=True)
class Planning:
    """What a plan took.

    Attributes:
        trials: That it has.
        cells: That differ among them.
        wall: Seconds of the command.
        memory: Most bytes resident.
    """

    trials: int
    cells: int
    wall: float
    memory: int


@dataclass(frozen=True)
class Cost:
    """The driver's processor seconds.

    Attributes:
        trial: For each trial.
        epoch: For each epoch that a worker reports.
    """

    trial: float
    epoch: float

    @classmethod
    def between(cls, few: Sweep, more: Sweep, long: Sweep) -> Cost:
        """From sweeps of few trials and of more, and of few whose trials have more epochs."""
        epochs = few.trials * (long.epochs - few.epochs)
        epoch = max(0.0, (long.processor - few.processor) / epochs)
        return cls(Growth.between(few, more).processor - few.epochs * epoch, epoch)

    def slots(self, epochs: int, seconds: float) -> float:
        """How many trials side by side keep a core of the driver busy.

        Args:
            epochs: Of each.
            seconds: That an epoch takes.
        """
        return epochs * seconds / (self.trial + epochs * self.epoch)


def grid(trials: int, cells: int) -> str:
    """An experiment of so many trials, in YAML: each cell with each of some seeds."""
    return GRID.format(variants=cells - 1, seeds=list(range(trials // cells)))


def plan(trials: int, cells: int) -> Planning:
    """Runs `nas-sweep plan` on a grid.

    Raises:
        RuntimeError: It failed.
    """
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
    return Planning(trials, cells, wall, int(done.stderr.split()[-1]))


def plans_table(plans: Sequence[Planning]) -> str:
    """A row for each plan."""
    rows = [
        [
            f"{one.trials:,}",
            f"{one.cells:,}",
            f"{one.wall:.1f} s",
            f"{1e3 * one.wall / one.trials:.2f} ms",
            f"{one.memory / 2**20:,.0f} MiB",
        ]
        for one in plans
    ]
    return table(("trials planned", "cells", "wall", "a trial", "memory"), rows)


def beyond(sweep: Sweep, own: float) -> float:
    """Seconds that each trial took beyond its own, which is shared by the machine's cores."""
    return sweep.wall / sweep.trials - own / cores()


def sweeps_table(sweeps: Sequence[tuple[Sweep, float]]) -> str:
    """A row for each sweep over the nodes, given with its trials' own seconds."""
    rows = [
        [
            f"{sweep.trials:,}",
            f"{sweep.epochs}",
            f"{sweep.repeated}",
            f"{sweep.wall:.0f} s",
            f"{own:.3f} s",
            f"{beyond(sweep, own):.3f} s",
            f"{1e3 * sweep.processor / sweep.trials:.0f} ms",
            f"{sweep.memory / 2**20:,.0f} MiB",
        ]
        for sweep, own in sweeps
    ]
    header = (
        f"trials over {NODES} nodes", "epochs of each", "trained twice", "wall", "own work of one",
        f"a trial, beyond its own work on {cores()} cores", "driver's CPU a trial",
        "driver's memory",
    )  # fmt: skip
    return table(header, rows)


def limits_table(cost: Cost) -> str:
    """How many trials side by side one driver can look after."""
    rows = [
        [
            name,
            f"{1e3 * (cost.trial + epochs * cost.epoch):,.0f} ms",
            f"{cost.slots(epochs, seconds):,.0f}",
        ]
        for name, epochs, seconds in WORK
    ]
    header = ("a trial", "driver's CPU for it", "trials side by side that keep one core busy")
    return table(header, rows)


def main() -> int:
    """Measures, and prints tables.

    Returns:
        The exit code: 1 if nas-sweep misses a bar.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--trials", nargs=2, type=int, default=[200, 2000], help="of a small and a large sweep")
    add("--epochs", type=int, default=11, help="of the small sweep's trials, once more")
    add("--plans", nargs="+", type=int, default=[1000, PLANNED, 100_000], help="trials to plan")
    add("--write", type=Path, help="document to put the tables into, between its comments")
    options = parser.parse_args()
    plans = [plan(trials, max(2, trials // 100)) for trials in options.plans]
    plans.append(plan(PLANNED, PLANNED))
    few, more = (drive("nodes", trials) for trials in sorted(options.trials))
    long = drive("nodes", few.trials, options.epochs)
    own, longer = own_seconds(50), own_seconds(20, options.epochs)
    cost = Cost.between(few, more, long)
    text = "\n\n".join(
        [
            plans_table(plans),
            sweeps_table([(few, own), (long, longer), (more, own)]),
            growth_table([few, more]),
            f"An epoch takes the driver {1e3 * cost.epoch:.1f} ms.",
            limits_table(cost),
            Machine.of(torch.device("cpu")).sentence(),
        ]
    )
    if failed := publish(options.write, "scale", text):
        return failed
    above = beyond(more, own)
    planned = next((one.wall for one in plans if one.trials == PLANNED), 0.0)
    twice = few.repeated + more.repeated + long.repeated
    missed = above > BAR_TRIAL or planned > BAR_PLAN or twice > 0
    print(
        f"\n{'missed' if missed else 'held'}: {above:.3f} s a trial (bar {BAR_TRIAL:g} s), "
        f"{PLANNED:,} planned in {planned:.1f} s (bar {BAR_PLAN:g} s), {twice} trained twice"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
