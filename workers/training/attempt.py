"""One worker's attempt at a trial or a surface: its lease, log, stop requests and failures.

`attempt` runs the work under the item's lease and turns whatever happens into an `Outcome`. The
work writes to an `ItemLog`, and notices by `Stopping` that it should end. Nothing here loads torch,
so that a launch can read failures and write logs too.
"""

from __future__ import annotations

import contextlib
import re
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, Protocol, TypeVar

from results_schema import layout
from results_schema.errors import (
    MissingKey,
    NasSweepError,
    ProgramError,
    StoreError,
    Superseded,
)
from results_schema.lease import Lease
from results_schema.store import Failure, FailureKind, Store

Batch = TypeVar("Batch")

Status = Literal["done", "diverged", "waiting", "stopped", "held", "superseded", "failed"]

Ask = Callable[[], str]
"""Returns who asks the work to stop and why, or an empty string."""


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a trial or a surface went.

    Attributes:
        status: "done" or "diverged", the item has ended; "waiting", it has committed the epoch
            after which a decision is due; "stopped", it was asked to stop, and committed what it
            had; "held", another worker has it; "superseded", another worker took
            it over; "failed".
        reason: In a few words.
        epochs: Trained by this attempt, or points measured.
        kind: Kind of the failure (`classify`), or empty.
    """

    status: Status
    reason: str
    epochs: int = 0
    kind: FailureKind | Literal[""] = ""


class Work(Protocol):
    """What is done under the lease; `done` counts its epochs or points so far."""

    done: int

    def run(self) -> tuple[Status, str]:
        """Work until the item ends or is asked to stop; return the status and the reason."""
        ...


def attempt(
    store: Store,
    item: str,
    token: str | None,
    begin: Callable[[Lease, ItemLog, Stopping], Work],
    request: StopRequest,
    ask: Ask,
) -> Outcome:
    """Take an item's lease and work on it.

    Args:
        store: Where the item's results go.
        item: Its id.
        token: Name of the lease.
        begin: Makes the work, once the lease is held.
        request: Asks the work to stop.
        ask: Called before the work begins, and every second by the thread that keeps the lease;
            the reason that it returns becomes the request's.

    Returns:
        How it went. An error is an outcome too: it is recorded in the store, as far as that can be
        written, and its traceback is in the item's log.
    """
    try:
        lease = store.leases.take(item, token)
    except StoreError as error:
        return Outcome("failed", str(error), kind=classify(error).kind)
    if lease is None:
        return Outcome("held", "another worker holds its lease")
    log = ItemLog(store, lease, item)
    # Both are called by the lease's own thread, so a request is noticed within a long epoch.
    lease.warn, lease.duty = log.add, lambda: request.poll(ask)
    with lease:
        work = begin(lease, log, Stopping(request, lease, log))
        try:
            # Before the first beat, or an item cancelled long ago would count as an attempt.
            request.poll(ask)
            if lease.predecessor:
                log.add(f"takes over from a worker that is gone: {lease.predecessor}")
            status, reason = work.run()
            # A worker that did nothing leaves no log behind, or each would create one.
            if status == "stopped" and log.begun:
                log.add(f"stopped {reason}: {request.reason}")
                log.try_flush()
        except Superseded as error:
            # The successor owns the store's files now: not even the log may be written.
            return Outcome("superseded", str(error), work.done)
        except Exception as error:
            failure = classify(error)
            # The store may be what failed, and the first error is the one to report.
            with contextlib.suppress(Exception):
                log.add(traceback.format_exc())
                log.flush()
                # A full disk is no fault of the item's, and recording it would need space.
                if failure.kind != "full":
                    failure.record(store, item, lease)
            return Outcome("failed", failure.message, work.done, failure.kind)
        return Outcome(status, reason, work.done)


def nobody() -> str:
    """Return an empty string: nobody asks for a stop."""
    return ""


class Stopped(BaseException):
    """The running epoch or point is dropped, because someone asked for it.

    It is no `Exception`, so that a program that catches its own errors does not catch it.
    """


class StopRequest:
    """A request to stop: who asks for it and why, or an empty reason; the first one stays.

    The work never reads the store for a request, as a read may take seconds. A signal handler, a
    neighbour in the process, or the lease's thread makes it; the work checks it before each batch.
    """

    def __init__(self) -> None:
        self.reason = ""

    def make(self, reason: str) -> None:
        """Ask the work to stop."""
        self.reason = self.reason or reason

    def poll(self, ask: Ask) -> None:
        """Make the request if `ask` returns a reason."""
        if not self.reason and (reason := ask()):
            self.make(reason)

    @property
    def made(self) -> bool:
        """Whether the work should stop."""
        return bool(self.reason)


class Stopping:
    """Where the work under a lease notices that it should end; without arguments it never should.

    Lines that another thread added to the log are written at the next check.
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
        """Raise `Stopped` or `Superseded` if the work should end; takes no noticeable time."""
        # A lost lease comes before a request: a stopped worker commits, and this one may not.
        self.check_lease()
        if self.request.made:
            raise Stopped
        # While heartbeats fail, a write to the same store would only block the training.
        if self._log is not None and self._log.pending and self._lease and self._lease.healthy:
            self._log.try_flush()

    def check_lease(self) -> None:
        """Raise `Superseded` if the lease is lost."""
        if self._lease is not None and self._lease.lost.is_set():
            raise Superseded(f"another worker has taken over {self._lease.item}")

    def between(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Yield the same batches, with a `check` before each, which may raise."""
        for batch in batches:
            self.check()
            yield batch


class ItemLog:
    """The log of one attempt, appended to those of the attempts before it.

    Any thread may add lines; the one that works under the lease writes them.
    """

    def __init__(self, store: Store, lease: Lease, item: str) -> None:
        self._store, self._lease, self._key = store, lease, layout.log(item)
        self._past: bytes | None = None
        self._adding = threading.Lock()
        self._text = ""
        self._tried = 0

    def add(self, line: str) -> None:
        """Add a line with the time; it is kept from the next `flush` on."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        with self._adding:
            self._text += f"{now[:19]} {line}\n"

    @property
    def begun(self) -> bool:
        """Whether this attempt has a line."""
        return bool(self._text)

    @property
    def pending(self) -> bool:
        """Whether there are lines that no `flush` has tried to write."""
        return len(self._text) > self._tried

    def flush(self) -> None:
        """Write all lines so far; raises `Superseded` or `StoreError` if it can't."""
        # Counted as tried before it is written, or a store that fails would be tried each batch.
        text = self._text
        self._tried = len(text)
        if self._past is None:
            try:
                self._past = self._store.get(self._key)
            except MissingKey:
                self._past = b""
        # A bucket can't append, so the whole log is replaced.
        self._store.put(self._key, self._past + text.encode(), lease=self._lease)

    def try_flush(self) -> None:
        """Write all lines so far if the store can be written; otherwise the next `flush` does."""
        with contextlib.suppress(StoreError):
            self.flush()


def append_to_log(store: Store, item: str, line: str) -> None:
    """Append a line to the log of an item that no worker holds, such as why its worker is gone.

    Does nothing if a worker holds the item, whose own log has more to report, or the store fails.
    """
    with contextlib.suppress(NasSweepError):
        if lease := store.leases.take(item):
            with lease:
                log = ItemLog(store, lease, item)
                log.add(line)
                log.flush()


class CaptureFailed(RuntimeError):
    """A step could not be captured in a CUDA graph; another process trains without graphs."""


_MEMORY = "out of memory|can't allocate memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
_CUDA = (
    "CUDA|CUDNN|CUBLAS|StreamCapture|STREAM_CAPTURE|while capturing|"
    # cuDNN finds no engine for any shape once its search has broken another thread's capture.
    "(FIND|GET) was unable to find an engine"
)


def classify(error: BaseException) -> Failure:
    """Return the kind of failure that an exception is, with its message."""
    if isinstance(error, NasSweepError) and (error.kind != "error" or type(error) is ProgramError):
        return Failure(error.kind, str(error))
    message = f"{type(error).__name__}: {error}"
    # Memory is looked for first: a capture that runs out of it fails as a capture, too.
    if any(_is_about_memory(one) for one in _chain(error)):
        return Failure("memory", message)
    if isinstance(error, CaptureFailed):
        return Failure("graph", message)
    if isinstance(error, RuntimeError) and re.search(_CUDA, str(error)):
        return Failure("cuda", message)
    return Failure("error", message)


def _is_about_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    # torch and the libraries below it report it in the text of a RuntimeError.
    return isinstance(error, RuntimeError) and bool(re.search(_MEMORY, str(error), re.IGNORECASE))


def _chain(error: BaseException) -> list[BaseException]:
    """Return the exception, its causes and its contexts."""
    chain: list[BaseException] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        # Exceptions may be one another's causes, so those seen are not visited twice.
        if one is not None and not any(one is seen for seen in chain):
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    return chain
