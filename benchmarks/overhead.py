"""What a sweep costs beyond its trials' own work, beside plain Ray Tune on the same trials.

    uv run python benchmarks/overhead.py

Trials are trivial: the smallest network, one step an epoch. Their own work is measured apart, in
one process. Each sweep is driven by a process of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

# Where `benchmarks` lies.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import Machine, publish, table
from benchmarks.sweeps import KINDS, Sweep, own_seconds
from orchestrator.output.text import cores

ROOT = Path(__file__).resolve().parents[1]

BAR_TRIAL, BAR_EPOCH = 0.12, 0.010
"""Seconds beyond its own work that a trivial trial and an epoch may cost."""


@dataclass(frozen=True)
class Growth:
    """What each further trial of a sweep took, between a smaller one and a larger.

    Attributes:
        smaller: Number of trials.
        larger: Number of trials.
        wall: Seconds.
        processor: Seconds of the driver.
        memory: Bytes of the driver.
    """

    smaller: int
    larger: int
    wall: float
    processor: float
    memory: float

    @classmethod
    def between(cls, one: Sweep, other: Sweep) -> Growth:
        """From one sweep to another."""
        more = other.trials - one.trials
        return cls(
            one.trials,
            other.trials,
            (other.wall - one.wall) / more,
            (other.processor - one.processor) / more,
            (other.memory - one.memory) / more,
        )


def drive(kind: str, trials: int, epochs: int = 1) -> Sweep:
    """Has a process drive a sweep.

    Raises:
        RuntimeError: It failed, or a trial did.
    """
    print(f"{kind}: {trials} trials of {epochs} epoch(s)", file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "benchmarks.sweeps", kind]
    command += [f"--trials={trials}", f"--epochs={epochs}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{kind} failed: {done.stderr[-2000:]}")
    sweep = Sweep(**json.loads(done.stdout.splitlines()[-1]))
    if sweep.ended != trials:
        raise RuntimeError(f"{kind}: {sweep.ended} of {trials} trials ended")
    return sweep


def trials_table(sweeps: Sequence[tuple[str, Sweep]], own: float) -> str:
    """A row for each sweep."""
    rows = []
    for kind, sweep in sweeps:
        each = sweep.wall / sweep.trials
        rows.append(
            [
                kind,
                f"{sweep.trials:,}",
                f"{sweep.wall:.1f} s",
                f"{each:.3f} s",
                f"{each - own / cores():.3f} s",
                f"{1e3 * sweep.processor / sweep.trials:.0f} ms",
                f"{sweep.memory / 2**20:,.0f} MiB",
            ]
        )
    header = (
        "sweep", "trials", "wall, with Ray's start", "a trial", "beyond its own work",
        "driver's CPU a trial", "driver's memory",
    )  # fmt: skip
    return table(header, rows)


def growth_table(sweeps: Sequence[Sweep]) -> str:
    """What each further trial took, from one size to the next."""
    rows = [
        [
            f"{one.smaller:,} to {one.larger:,}",
            f"{one.wall:.3f} s",
            f"{1e3 * one.processor:.1f} ms",
            f"{one.memory / 2**10:,.1f} KiB",
        ]
        for one in map(Growth.between, sweeps, sweeps[1:])
    ]
    return table(("nas-sweep, further trials", "wall", "driver's CPU", "driver's memory"), rows)


def epochs_table(sweeps: Sequence[tuple[str, Sweep]]) -> str:
    """What an epoch costs beyond its own work."""
    rows = [
        [kind, f"{sweep.epochs:,}", "–" if (b := sweep.between) is None else f"{1e3 * b:.2f} ms"]
        for kind, sweep in sweeps
    ]
    return table(("sweep", "epochs a trial", "beyond its own work, an epoch"), rows)


def main() -> int:
    """Measures, and prints tables.

    Returns:
        The exit code: 1 if nas-sweep misses a bar.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--trials", nargs="+", type=int, default=[20, 200, 2000], help="of nas-sweep's sweeps")
    add("--bar", type=int, default=200, help="the size that the bar is for (default: 200)")
    add("--plain", type=int, default=200, help="trials of plain Tune's (default: 200)")
    add("--epochs", type=int, default=200, help="of a trial, for the cost of an epoch")
    add("--json", type=Path, help="file to put every number into")
    add("--write", type=Path, help="document to put the tables into, between its comments")
    options = parser.parse_args()
    own = own_seconds(50)
    sizes = sorted({*options.trials, options.bar})
    others = [kind for kind in KINDS if kind.startswith("plain")]
    sweeps = [("plain Tune" + k.removeprefix("plain"), drive(k, options.plain)) for k in others]
    ours = [drive("ours", trials) for trials in sizes]
    sweeps += [("nas-sweep", sweep) for sweep in ours]
    long = [("nas-sweep", drive("ours", 2, options.epochs))]
    long += [("plain Tune", drive("plain", 2, options.epochs))]
    text = "\n\n".join(
        [
            f"A trial's own work takes {own:.3f} s, {own / cores():.3f} s side by side on "
            f"{cores()} cores.",
            trials_table(sweeps, own),
            growth_table(ours),
            epochs_table(long),
            Machine.of(torch.device("cpu")).sentence(),
        ]
    )
    if failed := publish(options.write, "overhead", text):
        return failed
    if options.json:
        found = {"own": own, "sweeps": [(kind, asdict(one)) for kind, one in [*sweeps, *long]]}
        options.json.write_text(json.dumps(found, indent=1), "utf-8")
    beyond = ours[sizes.index(options.bar)].wall / options.bar - own / cores()
    between = long[0][1].between or 0.0
    missed = beyond > BAR_TRIAL or between > BAR_EPOCH
    print(
        f"\n{'missed' if missed else 'held'}: {beyond:.3f} s a trial (bar {BAR_TRIAL:g} s), "
        f"{1e3 * between:.2f} ms an epoch (bar {1e3 * BAR_EPOCH:g} ms)"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
