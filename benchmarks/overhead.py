"""What a sweep costs beyond its trials' own work, beside plain Ray Tune on the same trials.

    uv run python benchmarks/overhead.py

Trials are trivial: the smallest network, one step an epoch. Their own work is measured apart, in
one process. Each sweep is driven by a process of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.measure import argument_parser, describe_machine, publish
from benchmarks.sweeps import drive, growth_table, own_seconds, sweeps_table
from orchestrator.output.text import cores

BAR_SIZE = 200
"""Trials of the sweep that has to meet the bar."""
BAR_TRIAL, BAR_EPOCH = 0.12, 0.010
"""Seconds beyond its own work that a trivial trial and an epoch may cost."""
EPOCHS = 200
"""Epochs of a trial that the cost of an epoch is measured by."""


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
    rows = [(name, sweep, own) for name, sweep in sweeps]
    long, own_long = drive("ours", 2, EPOCHS), own_seconds(2, EPOCHS)
    rows += [("nas-sweep", long, own_long), ("plain Tune", drive("plain", 2, EPOCHS), own_long)]
    text = "\n\n".join(
        [
            f"A trial's own work takes {own:.3f} s, {own / cores():.3f} s side by side on "
            f"{cores()} cores.",
            sweeps_table(rows),
            growth_table(list(ours.values())),
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
