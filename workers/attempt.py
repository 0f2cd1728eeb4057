"""One worker's attempt at an item: under its lease, with a log, its failure recorded."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from results_schema.errors import StoreError, Superseded
from results_schema.lease import Lease
from results_schema.store import Store
from workers.training.failures import classify
from workers.training.log import ItemLog
from workers.training.stopping import Ask, Stopping, StopRequest


@dataclass(frozen=True)
class Outcome:
    """How an attempt at a trial or a surface went.

    Attributes:
        status: "done" or "diverged", the item has ended; "stopped", it was asked to stop, and
            kept what it had; "held", another worker has it; "superseded", another worker took it
            over; "failed".
        reason: In a few words.
        epochs: Trained by this attempt, or points measured.
        kind: Of the failure (`failures.Failure`), or empty.
    """

    status: str
    reason: str
    epochs: int = 0
    kind: str = ""


class Work(Protocol):
    """What is done under the lease.

    Attributes:
        done: Epochs or points so far.
    """

    done: int

    def run(self) -> tuple[str, str]:
        """Works until the item ends or is asked to stop; returns a status and the reason."""
        ...


def attempt(
    store: Store,
    item: str,
    token: str | None,
    begin: Callable[[Lease, ItemLog, Stopping], Work],
    request: StopRequest,
    ask: Ask,
) -> Outcome:
    """Takes an item's lease and works on it.

    Args:
        store: Where the item's results go.
        item: Its id.
        token: Name of the lease, chosen by whoever may want to fence it.
        begin: Makes the work, once the lease is held.
        request: Asks the work to stop.
        ask: Called before the work begins, and every second by the thread that keeps the lease;
            the reason that it returns becomes the request's.

    Returns:
        How it went; an error is an outcome too, recorded in the store, as far as that can be
        written, with its traceback in the item's log.
    """
    try:
        lease = store.leases.take(item, token)
    except StoreError as error:
        return Outcome("failed", str(error), kind=classify(error).kind)
    if lease is None:
        return Outcome("held", "another worker holds its lease")
    log = ItemLog(store, lease, item)
    lease.warn, lease.duty = log.say, lambda: request.ask(ask)
    with lease:
        work = begin(lease, log, Stopping(request, lease, log))
        try:
            request.ask(ask)
            if lease.predecessor:
                log.say(f"takes over from a worker that is gone: {lease.predecessor}")
            status, reason = work.run()
            if status == "stopped" and log.begun:
                log.say(f"stopped {reason}: {request.reason}")
                log.try_flush()
        except Superseded as error:
            return Outcome("superseded", str(error), work.done)
        except Exception as error:
            failure = classify(error)
            # The store may be what failed.
            with contextlib.suppress(Exception):
                log.say(traceback.format_exc())
                log.flush()
                if failure.kind != "full":  # which is no fault of the item's
                    failure.record(store, item, lease)
            return Outcome("failed", failure.message, work.done, failure.kind)
        return Outcome(status, reason, work.done)
