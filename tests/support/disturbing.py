"""Real launches to be disturbed: held open, watched for the moment, and left to go on."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config.experiment import load_experiment
from results_schema.store import LocalStore

OPTIONS = ("--device", "cpu", "--checkpoint-every", "0.4")


@contextlib.contextmanager
def held_open(experiment: Path, store: LocalStore) -> Iterator[None]:
    """Keeps a launch from ending before it is disturbed: the last trial waits for this lease."""
    lease = store.leases.take(load_experiment(experiment).members()[-1].spec.trial_id)
    assert lease is not None
    with lease:
        yield


def foreign(store: LocalStore) -> list[int]:
    """Processes that hold a lease and still run, but for this one."""
    holders = store.leases.held().values()
    return [h.pid for h in holders if h.pid and h.pid != os.getpid() and not h.dead]


def kill_inside_a_write(
    store: LocalStore, spare: set[str], seconds: float = 60
) -> tuple[str, bool]:
    """Kills the first worker seen with a staged file.

    Args:
        store: Where they write.
        spare: Trials whose workers are left alone.
        seconds: For which to look out.

    Returns:
        Its trial, and whether the file was still there when it was dead.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for trial_id, holder in store.leases.held().items():
            if trial_id in spare or holder.pid in (0, os.getpid()):
                continue
            folder = store.root / "leases" / trial_id / holder.token
            while time.monotonic() < end:
                try:
                    staged = [p for p in folder.iterdir() if "heartbeat" not in p.name]
                except OSError:
                    break
                if staged:
                    os.kill(holder.pid, signal.SIGKILL)
                    return trial_id, staged[0].exists()
        time.sleep(0.01)
    raise AssertionError("no worker was seen inside a write")
