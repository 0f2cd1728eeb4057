"""Checkpoints of a trial that never ran, each told from the others by its rows and tensors."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import torch

from results_schema.store import LocalStore
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint

_MEASURED = (
    *("rate", "train_accuracy", "test_loss", "test_accuracy", "grad_norm", "clip_rate"),
    *("seconds", "images_per_second"),
)
ID = "digits-w1d2-lr0.1-s0-0123456789"


def example(epoch: int) -> Checkpoint:
    rows: list[dict[str, Any]] = [
        dict.fromkeys(_MEASURED, 0.5)
        | {
            "trial_id": ID,
            "epoch": number,
            "train_loss": 0.1 + number / 3,
            "peak_memory": 1,
            "val_loss": None,
            "val_accuracy": None,
            "finished_at": datetime(2020, 1, 1, 12, 30, 1, 17 + number, tzinfo=UTC),
        }
        for number in range(1, epoch + 1)
    ]
    return Checkpoint(epoch, rows, {"weight": torch.arange(epoch * 40.0), "one": torch.ones(())})


def resume(store: LocalStore) -> tuple[int, list[str]]:
    """How many rows a resumed trial has, and what its log is told."""
    told: list[str] = []
    return len(checkpoint.resume(store, ID, lambda _: None, told.append, last=600)), told
