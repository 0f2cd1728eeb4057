"""A worker that is replaced in a long epoch stops in it; one whose heartbeat hangs still ends."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import endless_epochs
import pytest
from killing import begun
from small_trials import files, log, rows, small_spec
from sweeps import wait_for

from results_schema import layout
from results_schema.lease import BEAT
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "results")


@pytest.fixture
def spec() -> TrialSpec:
    return small_spec()


@contextmanager
def worker(spec: TrialSpec, store: LocalStore, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that has begun its attempt, of which no epoch ends."""
    path = tmp_path / "trial.json"
    path.write_text(spec.to_json())
    script = Path(endless_epochs.__file__)
    command = [sys.executable, str(script), str(path), "--store", str(store.root)]
    command += ["--device", "cpu", "--checkpoint-every", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            wait_for(lambda: process.poll() is not None or begun(store, spec))
            yield process
        finally:
            process.kill()


def contents(store: LocalStore) -> dict[str, bytes]:
    """Every file but those of leases."""
    return {key: store.get(key) for key in files(store) if not key.startswith(layout.LEASES)}


@pytest.mark.seeds(quick=1, long=5)
def test_a_worker_that_is_replaced_in_a_long_epoch_stops_in_it_and_writes_nothing(
    tmp_path: Path, store: LocalStore, spec: TrialSpec, fault_seed: int, tally: Counter[str]
):
    draws = random.Random(fault_seed)
    with worker(spec, store, tmp_path) as process:
        time.sleep(draws.uniform(0, 1.2 * BEAT))
        [holder] = store.leases.holders(spec.trial_id)
        assert holder.pid == process.pid
        store.leases.fence(spec.trial_id, holder.token)
        successor = store.leases.take(spec.trial_id, "successor")
        assert successor is not None
        left = contents(store)
        said, complaint = process.communicate(timeout=100)
    assert process.returncode == 1, complaint
    assert f"superseded: another worker has taken over {spec.trial_id}" in said
    assert contents(store) == left
    assert [one.token for one in store.leases.holders(spec.trial_id)] == ["successor"]
    store.put(layout.log(spec.trial_id), b"mine", lease=successor)
    tally["workers replaced in a long epoch"] += 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_whose_heartbeat_hangs_ends_at_a_signal(
    tmp_path: Path, store: LocalStore, spec: TrialSpec, signum: signal.Signals, tally: Counter[str]
):
    with worker(spec, store, tmp_path) as process:
        wait_for(lambda: store.has(layout.metrics(spec.trial_id)))
        [holder] = store.leases.holders(spec.trial_id)
        folder = store.root / layout.LEASES / spec.trial_id / holder.token
        before = (folder / "heartbeat").stat().st_mtime_ns
        wait_for(lambda: (folder / "heartbeat").stat().st_mtime_ns > before)
        os.mkfifo(folder / "heartbeat.new")  # the next one waits for whoever reads from it
        time.sleep(1.5 * BEAT)
        process.send_signal(signum)
        _, complaint = process.communicate(timeout=100)
    assert process.returncode == 130, complaint
    assert [one.token for one in store.leases.holders(spec.trial_id)] == [holder.token]
    assert store.leases.free(spec.trial_id), "its process is known to be gone"
    assert len(rows(store, spec)) == 0
    assert f"stopped after epoch 0 of 3: this process received {signum.name}" in log(store, spec)
    tally["workers ended while their heartbeat hung"] += 1
