"""Trials are measured side by side as they train, and what they can't have is no rung."""

import threading
from dataclasses import replace

import pytest
import torch
from small_trials import small_spec

from results_schema.errors import SpecError
from workers.training import packing as packing
from workers.training.packing import measure_pack, measure_pack_sizes


def test_a_ladder_is_measured_on_a_cpu():
    rungs = measure_pack_sizes(small_spec(), device="cpu", most=2, steps=4)
    assert [rung.trials for rung in rungs] == [1, 2]
    for rung in rungs:
        assert rung.images_per_second > 0
        assert 0 < rung.memory < 1


def test_all_are_warm_before_they_are_timed(monkeypatch: pytest.MonkeyPatch):
    """Each trains an epoch of all its shapes, evaluation too, before one begins the timed ones."""
    real, told = packing.train_epoch, []

    def train_epoch(*arguments):
        row = real(*arguments)
        told.append(row["epoch"])
        return row

    monkeypatch.setattr(packing, "train_epoch", train_epoch)
    warm: list[int] = []
    measure_pack(small_spec(), 3, device="cpu", steps=7, start=lambda: warm.append(len(told)))
    assert warm == [3]
    assert len(told) == 3 + 3 * 3, "an epoch has 160 images, and a step 48 of them"


def test_memory_that_runs_out_ends_the_ladder(monkeypatch: pytest.MonkeyPatch):
    real, there = packing.set_up, threading.Semaphore(3)

    def set_up(*arguments):
        if not there.acquire(blocking=False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return real(*arguments)

    monkeypatch.setattr(packing, "set_up", set_up)
    before = set(threading.enumerate())
    assert [
        rung.trials for rung in measure_pack_sizes(small_spec(), device="cpu", most=8, steps=1)
    ][:1] == [1]
    assert len(set(threading.enumerate()) - before) < 8, "nobody waits for whoever gave up"


def test_what_no_trial_could_be_trained_with_is_told():
    odd = replace(small_spec(), dataset="mnist")
    with pytest.raises(SpecError, match="unknown data set 'mnist'"):
        measure_pack_sizes(odd, device="cpu", most=4, steps=1)
