"""What a sweep costs beyond its trials' own work, beside plain Ray Tune on the same trials.

    uv run python benchmarks/overhead.py

Trials are trivial: the smallest network, one step an epoch. Their own work is measured apart, in
one process. Each sweep is driven by a process of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import argument_parser, describe_machine, publish, table
from benchmarks.sweeps import Sweep, drive, growth_table, own_seconds
from orchestrator.output.text import cores

BAR_SIZE = 200
"""Trials of the sweep that has to meet the bar."""
BAR_TRIAL, BAR_EPOCH = 0.12, 0.010
"""Seconds beyond its own work that a trivial trial and an epoch may cost."""
EPOCHS = 200
"""Epochs of a trial that the cost of an epoch is measured by."""


def trials_table(sweeps: Sequence[tuple[str, Sweep]], own: float) -> str:
    """Return a row for each sweep, given with its name."""
    rows = [
        [
            name,
            f"{sweep.trials:,}",
            f"{sweep.wall:.1f} s",
            f"{sweep.wall / sweep.trials:.3f} s",
            f"{sweep.beyond(own):.3f} s",
            *sweep.driver(),
        ]
        for name, sweep in sweeps
    ]
    header = (
        "sweep", "trials", "wall, with Ray's start", "a trial", "beyond its own work",
        "driver's CPU a trial", "driver's memory",
    )  # fmt: skip
    return table(header, rows)


def epochs_table(sweeps: Sequence[tuple[str, Sweep]]) -> str:
    """Return what an epoch costs beyond its own work, a row for each sweep."""
    rows = [
        [name, f"{sweep.epochs:,}", "–" if (b := sweep.between) is None else f"{1e3 * b:.2f} ms"]
        for name, sweep in sweeps
    ]
    return table(("sweep", "epochs a trial", "beyond its own work, an epoch"), rows)


def main() -> int:
    """Measure and print tables; return 1 if nas-sweep misses a bar."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--trials", nargs="+", type=int, default=[20, 200, 2000],
        help="sizes of nas-sweep's sweeps; 200 is always run (default: 20 200 2000)")  # fmt: skip
    add("--plain", type=int, default=200, help="trials of plain Tune's sweeps (default: 200)")
    options = parser.parse_args()
    own = own_seconds(50)
    kinds = ("plain", "plain-reused")
    sweeps = [("plain Tune" + k.removeprefix("plain"), drive(k, options.plain)) for k in kinds]
    ours = {size: drive("ours", size) for size in sorted({*options.trials, BAR_SIZE})}
    sweeps += [("nas-sweep", sweep) for sweep in ours.values()]
    long = drive("ours", 2, EPOCHS)
    text = "\n\n".join(
        [
            f"A trial's own work takes {own:.3f} s, {own / cores():.3f} s side by side on "
            f"{cores()} cores.",
            trials_table(sweeps, own),
            growth_table(list(ours.values())),
            epochs_table([("nas-sweep", long), ("plain Tune", drive("plain", 2, EPOCHS))]),
            describe_machine(torch.device("cpu")),
        ]
    )
    if failed := publish(options.write, "overhead", text):
        return failed
    beyond, between = ours[BAR_SIZE].beyond(own), long.between or 0.0
    missed = beyond > BAR_TRIAL or between > BAR_EPOCH
    print(
        f"\n{'missed' if missed else 'held'}: {beyond:.3f} s a trial (bar {BAR_TRIAL:g} s), "
        f"{1e3 * between:.2f} ms an epoch (bar {1e3 * BAR_EPOCH:g} ms)"
    )
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
