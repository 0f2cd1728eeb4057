"""What ends a launch from outside: Ctrl-C, SIGTERM, a closed terminal, the loss of its Ray.

Tune runs in a thread of its own, as its calls into Ray may block for a minute without letting
Python handle signals. The main thread waits for whatever comes first.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from types import FrameType
from typing import TypeVar

from rich.console import Console

from orchestrator.execution.queue import Queue
from orchestrator.housekeeping.cancel import requester
from results_schema import layout
from results_schema.errors import MachineError, StoreError
from results_schema.store import Store
from workers.signals import GRACE, leave_terminal

T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LOSS_INTERVAL = 0.5
"""Seconds between two checks of the processes of a Ray that this launch has started."""


class Supervision:
    """Runs the work of a launch in a thread and stops it in an orderly way.

    As a context it takes SIGINT, SIGTERM and SIGHUP.

    Args:
        queue: Offers nothing more once the launch is stopped; workers look into its store.
        launch: Id of the launch.
        console: Where to print that it stops.
        lost: Returns the name of the process of Ray that has died, or an empty string.

    Attributes:
        interrupted: Whether a signal came.
        insisted: Set where Tune must end without waiting for workers.
    """

    def __init__(
        self, queue: Queue, launch: str, console: Console, lost: Callable[[], str]
    ) -> None:
        self.interrupted = self._stopping = False
        self.insisted = threading.Event()
        self.queue, self.launch, self.console, self._lost = queue, launch, console, lost
        self._timer = threading.Timer(GRACE, self.insisted.set)
        self._timer.daemon = True
        self._events: SimpleQueue[int | None] = SimpleQueue()

    def __enter__(self) -> Supervision:
        # SIGHUP stays ignored if it was before, as `nohup` asks for. SIGINT does not: a shell
        # ignores it for what it runs in the background, where `kill -INT` is to stop a launch too.
        under_nohup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        taken = [each for each in SIGNALS if each != signal.SIGHUP or not under_nohup]
        self._before = {each: signal.signal(each, self.handle) for each in taken}
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        with contextlib.suppress(StoreError):
            self.queue.store.delete(layout.stop(self.launch))
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def handle(self, signum: int, frame: FrameType | None) -> None:
        """Note a signal; nothing else is safe at any point of the main thread."""
        self.interrupted = True
        # Unlike `threading.Event.set`, `SimpleQueue.put` is reentrant: a second signal may
        # interrupt it.
        self._events.put(signum)

    def run(self, work: Callable[[], T]) -> T:
        """Run a part of the launch's work in a thread; return what it returns.

        At the first signal the queue stops and workers are asked to commit the epochs they have
        completed, which they look for every second. At the second one, or `GRACE` seconds after
        the first, Tune is made to end at once.

        Raises:
            MachineError: Ray has died. The thread is left behind, as it may be blocked.
        """
        result: Future[T] = Future()

        def run_work() -> None:
            try:
                result.set_result(work())
            except BaseException as error:
                result.set_exception(error)
            # Wakes the main thread, which would else wait for the rest of its interval.
            self._events.put(None)

        threading.Thread(target=run_work, name="work", daemon=True).start()
        while not result.done():
            with contextlib.suppress(Empty):
                event = self._events.get(timeout=LOSS_INTERVAL)
                if event is not None:
                    self._stop(event)
            if name := self._lost():
                self._give_up(name)
        return result.result()

    def _stop(self, signum: int) -> None:
        if signum == signal.SIGHUP:
            # The terminal is gone: the next line printed there would end this process.
            leave_terminal()
        if self._stopping:
            self.insisted.set()
            return
        self._stopping = self.queue.stopping = True
        self._timer.start()
        self.console.print(
            "stopping: trials commit the epochs they have ended; again to stop at once"
        )
        ask_to_stop(self.queue.store, self.launch, signal.Signals(signum).name)

    def _give_up(self, name: str) -> None:
        """Let workers commit while they live, and end the launch by raising MachineError."""
        queue = self.queue
        queue.stopping = True
        ask_to_stop(queue.store, self.launch, f"{name} of its Ray has died")
        end = time.monotonic() + GRACE
        # Ray can't report which workers still run, but their leases show it. A store that fails
        # meanwhile ends the wait, not the error below.
        with contextlib.suppress(StoreError):
            while time.monotonic() < end and any(
                not queue.store.leases.free(one) for one in queue.working(queue.items)
            ):
                time.sleep(0.1)
        raise MachineError(
            f"{name}, a process of the Ray that this launch had started, has died (the system "
            "kills processes when memory runs out): trials have committed the epochs they had "
            "ended; the same command resumes them"
        )


def ask_to_stop(store: Store, launch: str, why: str) -> None:
    """Ask a launch's workers to stop, as far as the store can be written; they log the reason."""
    with contextlib.suppress(StoreError):
        store.put(layout.stop(launch), f"{why}, launched by {requester()}".encode())
