"""One epoch of a trial, from its learning rate to its row."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import torch

from results_schema.trial import TrialSpec
from workers.data.batches import evaluation_batches, training_batches
from workers.data.images import Data
from workers.training import device as devices
from workers.training.checkpoint import Row
from workers.training.engine import Engine
from workers.training.schedule import scheduled_rate
from workers.training.stopping import Stopping


def train_epoch(
    spec: TrialSpec,
    epoch: int,
    engine: Engine,
    data: Data,
    device: torch.device,
    stopping: Stopping,
) -> Row:
    """Trains one epoch, evaluates the test set, and returns the row of `tables.METRICS`.

    Raises:
        Stopped: It was asked to stop; the engine is left half-trained.
    """
    stopping.check()
    recipe = spec.recipe
    start = time.perf_counter()
    rate = scheduled_rate(recipe, spec.learning_rate, epoch)
    batches = training_batches(data, recipe.batch_size, spec.seed, epoch, recipe.cutout)
    engine.begin(spec.seed, epoch)
    totals = engine.train_epoch(stopping.between(batches), rate)
    trained = time.perf_counter()
    tests = evaluation_batches(data.test, data.about, recipe.evaluation_batch)
    loss, accuracy = engine.evaluate(stopping.between(tests))
    return {
        "trial_id": spec.trial_id,
        "epoch": epoch,
        "rate": rate,
        "train_loss": totals.loss,
        "train_accuracy": totals.accuracy,
        "test_loss": loss,
        "test_accuracy": accuracy,
        "grad_norm": totals.grad_norm,
        "clip_rate": totals.clip_rate,
        "seconds": time.perf_counter() - start,
        "images_per_second": totals.images / (trained - start),
        "peak_memory": devices.peak_memory(device),
        "finished_at": datetime.now(UTC),
    }
