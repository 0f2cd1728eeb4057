"""Workers in processes of their own that are killed: by themselves inside a write, or from outside.

A worker that kills itself does so with SIGKILL between two calls to the operating system, or after
half of the bytes of one: nothing of Python's, such as `finally` or a buffer's flush, runs any more.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess

from endless_epochs import endless_from
from os_calls import Call, watched
from small_trials import few_digits

from results_schema import layout
from results_schema.store import LocalStore
from results_schema.trial import TrialSpec
from workers.training.checkpoint import Checkpointing
from workers.training.trial import train


def _staged(path: str) -> bool:
    """Whether a path is that of a file which a `put` or a `delete` has in its lease's folder."""
    return path.startswith("leases/") and path.count("/") == 3 and "heartbeat" not in path


MOMENTS: dict[str, Callable[[Call], bool]] = {
    "half of a file is staged": lambda call: call.name == "write" and _staged(call.path),
    "a file is staged and not synced": lambda call: call.name == "fsync" and _staged(call.path),
    "a file is synced and not renamed": lambda call: (
        call.name == "replace" and _staged(call.path) and call.target.startswith("checkpoints/")
    ),
    "rows are staged and not renamed": lambda call: (
        call.name == "replace" and call.target.startswith("metrics/")
    ),
    "a file is renamed and its folder not synced": lambda call: (
        call.name == "fsync" and call.path.startswith("checkpoints")
    ),
    "there are tensors without a state": lambda call: (
        call.name == "replace" and call.target.endswith("/state.json")
    ),
    "a file is withdrawn and not removed": lambda call: (
        call.name == "unlink" and _staged(call.path)
    ),
}
"""Moments inside a write, each named by what has happened by then, before the call shown."""


def die_at(moment: str, number: int) -> Callable[[Call], None]:
    """Kills this process when such a moment has come so often."""
    left = number

    def act(call: Call) -> None:
        nonlocal left
        if not MOMENTS[moment](call):
            return
        left -= 1
        if left == 0:
            if call.name == "write":
                call.half()
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def train_and_die(
    spec: TrialSpec, store: LocalStore, checkpointing: Checkpointing, moment: str, number: int
) -> None:
    """What a worker runs that is to die; without a moment it waits for that in an epoch."""
    with few_digits():
        if not moment:
            with endless_from(number):
                train(spec, store, device="cpu", checkpointing=checkpointing)
            return
        with watched(store.root, die_at(moment, number)):
            train(spec, store, device="cpu", checkpointing=checkpointing)


def start_worker(
    spec: TrialSpec,
    store: LocalStore,
    checkpointing: Checkpointing,
    moment: str = "",
    number: int = 0,
) -> BaseProcess:
    """A worker in a process of its own that takes a fraction of a second to start.

    Args:
        spec: Its trial.
        store: Where it trains.
        checkpointing: When it commits.
        moment: At which it kills itself, of `MOMENTS`; empty if it is killed from outside.
        number: How often the moment comes; or the epoch from which on none ends.
    """
    worker = _processes().Process(
        target=train_and_die, args=(spec, store, checkpointing, moment, number)
    )
    worker.start()
    return worker


def _processes() -> ForkServerContext:
    """Starts processes that have what is slow to import."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pandas", "pytest", "workers.training.trial", "killing"])
    return processes


def begun(store: LocalStore, spec: TrialSpec) -> bytes:
    """Changes when a worker begins an attempt."""
    key = layout.attempts(spec.trial_id)
    return store.get(key) if store.has(key) else b""
