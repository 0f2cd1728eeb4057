"""A worker that is replaced in a long epoch stops in it; one whose heartbeat hangs still ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
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

pytestmark = [pytest.mark.timeout(300), pytest.mark.long]

SPEC = small_spec()
ITEM = SPEC.trial_id


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return open_store(tmp_path / "results")


@contextmanager
def worker(store: LocalStore) -> Iterator[subprocess.Popen[str]]:
    """A worker in a process of its own that has begun its attempt, of which no epoch ends."""
    path = store.root.with_name("trial.json")
    path.write_text(SPEC.to_json())
    command = [sys.executable, endless_epochs.__file__, str(path), "--store", str(store.root)]
    command += ["--device", "cpu", "--checkpoint-every", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        try:
            wait_for(lambda: process.poll() is not None or begun(store, SPEC))
            yield process
        finally:
            process.kill()


def contents(store: LocalStore) -> dict[str, bytes]:
    """Every file but those of leases."""
    return {key: store.get(key) for key in files(store) if not key.startswith(layout.LEASES)}


def test_a_worker_that_is_replaced_in_a_long_epoch_stops_in_it_and_writes_nothing(
    store: LocalStore,
):
    with worker(store) as process:
        [holder] = store.leases.holders(ITEM)
        assert holder.pid == process.pid
        store.leases.fence(ITEM, holder.token)
        successor = store.leases.take(ITEM, "successor")
        assert successor is not None
        left = contents(store)
        output, complaint = process.communicate(timeout=100)
    assert process.returncode == 1, complaint
    assert f"superseded: another worker has taken over {ITEM}" in output
    assert contents(store) == left
    assert [one.token for one in store.leases.holders(ITEM)] == ["successor"]
    store.put(layout.log(ITEM), b"mine", lease=successor)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_worker_whose_heartbeat_hangs_ends_at_a_signal(store: LocalStore, signum: signal.Signals):
    with worker(store) as process:
        wait_for(lambda: store.has(layout.metrics(ITEM)))
        [holder] = store.leases.holders(ITEM)
        pipe = store.root / layout.LEASES / ITEM / holder.token / "heartbeat.new"
        wait_for(lambda: store.leases.holders(ITEM)[0].beat > holder.beat)
        os.mkfifo(pipe)  # the next one waits for whoever reads from it
        time.sleep(1.5 * BEAT)
        process.send_signal(signum)
        _, complaint = process.communicate(timeout=100)
    assert process.returncode == 130, complaint
    assert [one.token for one in store.leases.holders(ITEM)] == [holder.token]
    assert store.leases.free(ITEM), "its process is known to be gone"
    assert len(rows(store, SPEC)) == 0
    assert f"stopped after epoch 0 of 3: this process received {signum.name}" in log(store, SPEC)
