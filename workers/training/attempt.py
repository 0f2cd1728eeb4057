"""One worker's attempt at a trial or a surface: its lease, log, stop requests and failures.

`Attempt.run` works under the item's lease and turns whatever happens into an `Outcome`. The work
writes to an `ItemLog`, and notices by `Stopping` that it should end. Nothing here loads torch
before an attempt begins, so that a launch can read failures and write logs too.
"""

from __future__ import annotations

import contextlib
import re
import threading
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Generic, Literal, TypeVar

from results_schema import layout
from results_schema.errors import (
    MissingKey,
    NasSweepError,
    ProgramError,
    StoreError,
    Superseded,
)
from results_schema.lease import Lease
from results_schema.program import ProgramSpec
from results_schema.store import Failure, FailureKind, Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

    from workers.training.checkpoint import Row

Batch = TypeVar("Batch")
S = TypeVar("S", TrialSpec, ProgramSpec, SurfaceSpec)

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
        self.check_lease()  # before a request, as a stopped worker commits
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
        # Counted before it is written, or a store that fails would be tried before each batch.
        text = self._text
        self._tried = len(text)
        if self._past is None:
            try:
                self._past = self._store.get(self._key)
            except MissingKey:
                self._past = b""
        self._store.put(self._key, self._past + text.encode(), lease=self._lease)

    def try_flush(self) -> None:
        """Write all lines so far if the store can be written; otherwise the next `flush` does."""
        with contextlib.suppress(StoreError):
            self.flush()


@dataclass
class Attempt(ABC, Generic[S]):
    """One worker's attempt at a trial or a surface.

    Attributes:
        spec: The trial or surface.
        store: Where its results go.
        device: See `device.choose`, like the next.
        deterministic: Whether a GPU must give the same bits again; no part of the identity.
        token: Name of the lease, chosen by whoever may want to fence it.
        gpu_share: GPUs that this process has, below 1 a share of one; for the row.
        stop: Asks the work to stop before the next batch.
        ask: Called before the work begins, and every second by the thread that keeps the lease;
            the reason that it returns becomes that of `stop`.
        done: Number of epochs or points so far.
    """

    spec: S
    store: Store
    _: KW_ONLY
    device: str | None = None
    deterministic: bool = False
    token: str | None = None
    gpu_share: float = 1.0
    stop: StopRequest = field(default_factory=StopRequest)
    ask: Ask = lambda: ""
    done: int = field(default=0, init=False)
    lease: Lease = field(init=False)
    log: ItemLog = field(init=False)
    stopping: Stopping = field(init=False)

    @property
    @abstractmethod
    def item(self) -> str:
        """Its id."""

    @abstractmethod
    def ended(self) -> Status | None:
        """Return the item's status if it has ended."""

    def choose_device(self) -> torch.device:
        """Return the device; raise an error if this machine can't do what the spec means."""
        from workers.training import device as devices

        return devices.choose(self.device, deterministic=self.deterministic)

    @abstractmethod
    def work(self, device: torch.device) -> tuple[Status, str]:
        """Work until the item ends or is asked to stop; return the status and the reason."""

    def run(self) -> Outcome:
        """Take the item's lease and work on it.

        An error is an outcome too: it is recorded in the store, as far as that can be written, and
        its traceback is in the item's log.
        """
        store, item, request, ask = self.store, self.item, self.stop, self.ask
        try:
            lease = store.leases.take(item, self.token)
        except StoreError as error:
            return Outcome("failed", str(error), kind=classify(error).kind)
        if lease is None:
            return Outcome("held", "another worker holds its lease")
        log = ItemLog(store, lease, item)
        lease.warn, lease.duty = log.add, lambda: request.poll(ask)
        self.lease, self.log, self.stopping = lease, log, Stopping(request, lease, log)
        with lease:
            try:
                # Before the first beat, or an item cancelled long ago would count as an attempt.
                request.poll(ask)
                if lease.predecessor:
                    log.add(f"takes over from a worker that is gone: {lease.predecessor}")
                status, reason = self._work()
                if status == "stopped" and log.begun:
                    log.add(f"stopped {reason}: {request.reason}")
                    log.try_flush()
            except Superseded as error:
                # The store's files are the successor's now, the log too.
                return Outcome("superseded", str(error), self.done)
            except Exception as error:
                failure = classify(error)
                with contextlib.suppress(Exception):
                    log.add(traceback.format_exc())
                    log.flush()
                    # A full disk is no fault of the item's, and recording it would need space.
                    if failure.kind != "full":
                        failure.record(store, item, lease)
                return Outcome("failed", failure.message, self.done, failure.kind)
            return Outcome(status, reason, self.done)

    def _work(self) -> tuple[Status, str]:
        # Checked under the lease: another worker may have ended it just before.
        if ended := self.ended():
            return ended, "it had ended before"
        if self.stop.made:
            return "stopped", "before it began"
        return self.work(self.choose_device())

    def provenance(self, device: torch.device) -> Row:
        """Return where and with what it is computed, as columns of its row."""
        from workers.training import device as devices

        share = self.gpu_share if device.type == "cuda" else None
        return devices.provenance(device) | {"gpu_share": share}

    def finish(self, key: str, row: Row, schema: pa.Schema) -> None:
        """Write the item's row, its last file: it has ended once that is there."""
        from results_schema import tables

        # Before the row: whoever finds the row never looks for a failure to remove.
        self.store.delete(layout.failure(self.item), lease=self.lease)
        self.log.add(f"{row['status']}: {row['exit_reason']}")
        self.log.flush()
        self.store.put(key, tables.to_parquet([row], schema), lease=self.lease, final=True)


def read_rows(store: Store, key: str, schema: pa.Schema) -> list[Row]:
    """Return the rows of a table's file; none if there is no such file."""
    from results_schema import tables

    try:
        return tables.from_parquet(store.get(key), schema, key).to_pylist()
    except MissingKey:
        return []


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
        if one is not None and not any(one is seen for seen in chain):
            chain.append(one)
            waiting += [one.__cause__, one.__context__]
    return chain
