"""Check that a sweep through Ray shares the GPU: packs, halves, as many as measured to be best."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu_check import Outcome, Scale, environment
from results_schema.results import Results

EXPERIMENT = """
title: Trials that share a GPU
claim: None; this checks that a launch trains and measures everything.
grid:
  genotype: [DARTS]
  variants: none
  dataset: [digits]
  learning_rate: [0.025]
  seed: [{seeds}]
network: {{cells: {cells}, channels: {channels}}}
recipe: {{epochs: {epochs}, batch_size: 80}}
landscape:
  contour: {{grid: 3, subset: 200}}
figures: {{}}
"""


def pack(scale: Scale) -> Outcome:
    """Launch packs of two trials, and surfaces."""
    return _launch(scale, ["--pack", "2"], trials=4)


def halves(scale: Scale) -> Outcome:
    """Launch processes on half a GPU each, and surfaces likewise; in a dry run on a core each."""
    shares = [] if scale.dry else ["--gpus-per-trial", "0.5", "--gpus-per-surface", "0.5"]
    return _launch(scale, shares, trials=4)


def auto(scale: Scale) -> Outcome:
    """Let the launch measure how many trials a GPU trains best; in a dry run on a CPU."""
    return _launch(scale, [] if scale.dry else ["--gpus-per-trial", "auto"], trials=6)


def _launch(scale: Scale, options: list[str], trials: int) -> Outcome:
    trials = 2 if scale.dry else trials
    epochs = 2 if scale.dry else 3
    size = {"cells": 3, "channels": 2} if scale.dry else {"cells": 5, "channels": 8}
    # Ray creates sockets in it, whose paths may not be long.
    with tempfile.TemporaryDirectory(prefix="gc-") as name:
        folder = Path(name)
        experiment, store = folder / "shared.yaml", folder / "results"
        seeds = ", ".join(map(str, range(trials)))
        experiment.write_text(EXPERIMENT.format(seeds=seeds, epochs=epochs, **size))
        command = [sys.executable, "-m", "orchestrator.cli", "launch", str(experiment)]
        command += ["--store", str(store), *(["--device", "cpu"] if scale.dry else []), *options]
        start = time.perf_counter()
        done = subprocess.run(
            command,
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        seconds = time.perf_counter() - start
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {done.stdout[-2000:]}")
        results = Results(store)
        ended, metrics, surfaces = results.trials(), results.metrics(), results.surfaces()
    rows = len(metrics[["trial_id", "epoch"]].drop_duplicates())
    passed = (
        list(ended["status"]) == ["done"] * trials
        and rows == len(metrics) == trials * epochs
        and list(surfaces["status"]) == ["done"] * trials
    )
    text = (
        f"`{' '.join(options) or 'a process a core'}`: {len(ended)} of {trials} trials and "
        f"{len(surfaces)} of {trials} surfaces in {seconds:.0f} s, {rows} of {trials * epochs} "
        f"epochs, packs of {sorted(set(ended['pack_size']))}."
    )
    measured = [line for line in done.stdout.splitlines() if "images/s in all" in line]
    return Outcome(passed, "\n\n".join([text, *measured]), done.stdout)
