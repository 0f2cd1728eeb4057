"""The program that docs/programs.md shows, whose worker is killed again and again."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from small_programs import documented

from results_schema import layout
from results_schema.program import Metric, ProgramSpec, widen
from results_schema.store import LocalStore, open_store
from workers.program.source import find
from workers.program.training import train
from workers.training.checkpoint import Checkpointing

SPEC = ProgramSpec(
    "digits_mlp.py:train", 1, {"epochs": 12, "batch": 100, "lr": 0.1, "hidden": 16}, 0
)
KILLS = 3


def work(folder: Path, root: Path) -> None:
    """What a worker runs, slowly enough to be killed between two commits."""
    store, often = open_store(root), Checkpointing(every=0.2)
    train(
        SPEC,
        store,
        find(SPEC.program, folder),
        device="cpu",
        checkpointing=often,
        on_epoch=lambda row: time.sleep(0.05),
    )


def made(root: Path) -> LocalStore:
    store = open_store(root)
    widen(store, [Metric("valid_loss", goal="min"), Metric("valid_accuracy", goal="max")])
    return store


def rows(store: LocalStore) -> Any:
    return pd.read_parquet(store.root / "metrics")[["epoch", "valid_loss", "valid_accuracy"]]


@pytest.mark.timeout(300)
def test_kills_leave_the_rows_of_an_undisturbed_run(tmp_path: Path):
    folder = documented(tmp_path / "lab").parent
    reference, store = made(tmp_path / "reference"), made(tmp_path / "results")
    work(folder, reference.root)
    expected, draws = rows(reference), random.Random(0)
    assert len(expected) == 12
    assert expected["valid_accuracy"].iloc[-1] > 0.8
    processes = multiprocessing.get_context("forkserver")
    # What each worker would import, as the document's program does.
    preload = ["pandas", "workers.program.training", "small_programs", "sklearn.datasets", "torch"]
    processes.set_forkserver_preload(preload)
    kills = 0
    while not store.has(layout.trial(SPEC.trial_id)):
        worker = processes.Process(target=work, args=(folder, store.root))
        worker.start()
        before = len(rows(store))
        while worker.is_alive() and kills < KILLS and len(rows(store)) == before:
            time.sleep(0.01)
        worker.join(draws.uniform(0, 0.2) if kills < KILLS else 200)
        kills += worker.is_alive()
        worker.kill()
        worker.join()
        assert rows(store)["epoch"].tolist() == list(range(1, len(rows(store)) + 1))
    assert kills == KILLS
    pd.testing.assert_frame_equal(rows(store), expected, check_exact=True)
