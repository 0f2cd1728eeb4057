"""Ctrl-C and SIGTERM: first ask the workers to commit what they have, then insist."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

from rich.console import Console

from orchestrator.queue import Queue
from results_schema import layout
from results_schema.errors import StoreError
from results_schema.store import Store
from workers.signals import GRACE


class Interruption:
    """Whether a signal came."""

    def __init__(self) -> None:
        self.came = False


@contextlib.contextmanager
def interruptible(
    queue: Queue, store: Store, launch: str, console: Console
) -> Iterator[Interruption]:
    """Inside this context SIGINT and SIGTERM stop the launch instead of the process.

    The first one stops the queue and leaves a request in the store that workers look for every
    second: they give up the epoch that is running and commit those before it. At the second one,
    or `GRACE` seconds after the first, Tune is told to end at once.
    """
    interruption = Interruption()
    insist = threading.Timer(GRACE, _end_tune)
    insist.daemon = True

    def handle(signum: int, frame: FrameType | None) -> None:
        if interruption.came:
            _end_tune()
            return
        interruption.came = True
        queue.stop()
        insist.start()
        console.print("stopping: trials commit the epochs they have ended; again to stop at once")
        ask_to_stop(store, launch)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    # Until Tune listens to it, it must not end the process; the queue offers nothing by then.
    before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        yield interruption
    finally:
        insist.cancel()
        for signum, handler in before.items():
            signal.signal(signum, handler)
        with contextlib.suppress(StoreError):
            store.delete(layout.stop(launch))


def ask_to_stop(store: Store, launch: str) -> None:
    """Leaves the request, as far as the store can be written."""
    with contextlib.suppress(StoreError):
        store.put(layout.stop(launch), b"")


def _end_tune() -> None:
    """Tune ends its run on SIGUSR1, without an error."""
    os.kill(os.getpid(), signal.SIGUSR1)
