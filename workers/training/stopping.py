"""Stopping in the middle of an epoch or a point: who asks for it, and where the work notices.

The work never looks into the store for a request. Whoever wants it to stop sets a `StopRequest`:
a signal's handler, a neighbour in the process, or the thread that keeps the lease, which looks
into the store once a second. The work looks at the request before each batch.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from results_schema.errors import Superseded
from results_schema.lease import Lease
from workers.training.log import ItemLog

Batch = TypeVar("Batch")

Ask = Callable[[], str]
"""Looks whether the work should stop: returns who asks for it and why, or an empty text."""


def nobody() -> str:
    """Return an empty text: nobody asks for a stop."""
    return ""


class Stopped(Exception):
    """The running epoch or point is given up, because someone asked for it."""


class StopRequest:
    """A request to stop, made by any thread; the first reason stays.

    Attributes:
        reason: Who asks for it and why; empty as long as nobody does.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._made = threading.Event()

    def make(self, reason: str) -> None:
        """Ask the work to stop."""
        self.reason = self.reason or reason
        self._made.set()

    def ask(self, ask: Ask) -> bool:
        """Make the request if a look finds a reason; return whether it is made."""
        if not self.reason and (reason := ask()):
            self.make(reason)
        return bool(self.reason)

    @property
    def made(self) -> bool:
        """Whether the work should stop."""
        return self._made.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until the request is made; return whether it is."""
        return self._made.wait(seconds)


class Stopping:
    """Where the work under a lease notices that it should end; without arguments it never should.

    Args:
        request: A request to stop.
        lease: Held by the work.
        log: Of the work; lines that another thread added are written on the way.
    """

    def __init__(
        self,
        request: StopRequest | None = None,
        lease: Lease | None = None,
        log: ItemLog | None = None,
    ) -> None:
        self.request = request or StopRequest()
        self._lease, self._log = lease, log

    def check(self) -> None:
        """Return if the work should go on; costs next to nothing.

        Raises:
            Stopped: It was asked to stop.
            Superseded: The lease is lost.
        """
        if self._lease is not None and self._lease.lost.is_set():
            raise Superseded(f"another worker has taken over {self._lease.item}")
        if self.request.made:
            raise Stopped
        if self._log is not None and self._log.pending and self._lease and self._lease.healthy:
            self._log.try_flush()

    def between(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches, with a check before each.

        Raises:
            Stopped: See `check`.
            Superseded: See `check`.
        """
        for batch in batches:
            self.check()
            yield batch
