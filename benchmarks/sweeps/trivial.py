"""A trial that takes next to nothing, so that what a sweep adds to it shows."""

from __future__ import annotations

import time

from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data.catalog import describe
from workers.training import device as devices
from workers.training.attempt import Stopping
from workers.training.setup import set_up
from workers.training.trial import train_epoch

DATASET = "synthetic_8x1x8_2"
"""Eight images of 8×8 pixels: one step an epoch."""

EXPERIMENT = """\
title: Trivial trials
claim: None, this measures the sweep.
grid: {{genotype: [DARTS], dataset: [{dataset}], learning_rate: [0.025], seed: {seeds}}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}, batch_size: 8}}
"""
"""The same trials as `trial` makes, for the command line."""


def experiment(trials: int, epochs: int) -> str:
    """An experiment of so many trials, in YAML."""
    return EXPERIMENT.format(dataset=DATASET, seeds=list(range(trials)), epochs=epochs)


def trial(seed: int, epochs: int = 1) -> TrialSpec:
    """Three cells of the DARTS cell, with two channels."""
    return TrialSpec(
        genotype=named("DARTS"),
        dataset=DATASET,
        preprocessing=describe(DATASET).preprocessing,
        network=NetworkSpec(cells=3, channels=2),
        recipe=Recipe(epochs=epochs, batch_size=8),
        learning_rate=0.025,
        seed=seed,
    )


def train_bare(spec: TrialSpec) -> tuple[float, float]:
    """Trains a trial and keeps nothing.

    Returns:
        Seconds in all, and of them those inside its epochs.
    """
    start = time.perf_counter()
    device = devices.choose("cpu")
    data, engine = set_up(spec, device)
    never = Stopping()
    epochs = range(1, spec.recipe.epochs + 1)
    inside = sum(train_epoch(spec, e, engine, data, device, never)["seconds"] for e in epochs)
    return time.perf_counter() - start, inside


def own_seconds(trials: int, epochs: int = 1) -> float:
    """What a trial takes by itself: the mean over some, in one process that is warm.

    Seconds of the processor, which other work on the machine stretches less than those of a clock.
    """
    train_bare(trial(0))
    start = time.process_time()
    for seed in range(trials):
        train_bare(trial(seed, epochs))
    return (time.process_time() - start) / trials
