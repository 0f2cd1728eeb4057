"""A lease: a worker's sole right to an item, and the fence that stops a worker that lost it.

A worker whose node was declared dead may train on; its writes must not mix with its successor's.
How a lease is kept, and how it fences, is the store's affair: `results_schema.folder_leases` for a
folder, `results_schema.s3.leases` for a bucket. When it is expired is the same in all.
"""

from __future__ import annotations

import re
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, TypeVar

from results_schema import layout
from results_schema.errors import StoreError
from results_schema.holder import Holder

BEAT = 5.0
"""Seconds between heartbeats."""
ASK = 1.0
"""Seconds between two calls of a lease's duty."""
SLOW = 5.0
"""Seconds after which it is reported that the store took long to answer."""
LEAVE = 2.0
"""Seconds for which leaving a lease waits for its release: a store may not answer for minutes."""
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease may be taken over."""

_NAME = re.compile(layout.NAME)


class Lease(ABC):
    """A held lease. As a context it keeps beating and is released at the end.

    One thread of its own makes all requests that keep it: heartbeats, the duty, the release. A
    request that hangs delays the next ones, and neither the work under the lease nor its end.

    Attributes:
        item: The item's id.
        lost: Set once a heartbeat finds that another worker has taken over.
        healthy: Whether the last heartbeat succeeded.
        predecessor: Whose expired lease was ended for this one, as a clause; empty if none was.
        duty: Called every `ASK` s by the thread that beats, such as to look for a stop request.
        warn: Called by that thread with a line when heartbeats or the duty begin to fail, when
            they succeed again, and when one took longer than `SLOW` s.
    """

    def __init__(self, item: str, holder: Holder) -> None:
        self.item = item
        self.lost = threading.Event()
        self.healthy = True
        self.predecessor = ""
        self.duty: Callable[[], object] = lambda: None
        self.warn: Callable[[str], None] = lambda line: None
        self._holder = holder
        self._left = threading.Event()
        self._failing: dict[str, float] = {}

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.item}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(LEAVE)

    @property
    def token(self) -> str:
        """The lease's own name."""
        return self._holder.token

    @abstractmethod
    def beat(self) -> bool:
        """Renew the heartbeat; return False if the lease is lost.

        Raises:
            StoreError: It could not be renewed; the next one may be.
        """

    @abstractmethod
    def release(self) -> None:
        """Gives the item back. Does nothing if the lease is lost."""

    def _keep(self) -> None:
        """Beat and do the duty until the lease is left, then release it."""
        due = time.monotonic() + BEAT
        while not self._left.wait(min(ASK, BEAT)):
            if time.monotonic() >= due:
                due = time.monotonic() + BEAT
                self._try("heartbeats", self._beat)
                self.healthy = "heartbeats" not in self._failing
            if self.lost.is_set():
                break
            self._try("stop requests", self.duty)
        self.release()

    def _beat(self) -> None:
        if not self.beat():
            self.lost.set()

    def _try(self, what: str, act: Callable[[], object]) -> None:
        """Call a function that may fail and is called again; warn when that changes."""
        start = time.monotonic()
        try:
            act()
        except Exception as error:  # one that ended the thread would lose the lease
            if what not in self._failing:
                self._failing[what] = start
                self.warn(f"{what} fail: {str(error) or type(error).__name__}")
            return
        end = time.monotonic()
        began = self._failing.pop(what, None)
        if began is not None:
            self.warn(f"{what} succeed again after {end - began:.0f} s")
        elif end - start > SLOW:
            self.warn(f"the store took {end - start:.0f} s to answer {what}")


L = TypeVar("L", bound=Lease, covariant=True)


class Leases(ABC, Generic[L]):
    """All leases of a store.

    Args:
        clock: Gives the observer's time, in seconds.

    Attributes:
        ended: By item, whose expired lease `free` has ended, as a clause, until someone takes it
            from here to log it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}
        self.ended: dict[str, str] = {}

    def take(self, item: str, token: str | None = None) -> L | None:
        """Takes a free or expired item; None if someone else holds it.

        The caller must check again that the item is still owed: its last holder may have
        finished it.

        Args:
            item: The item's id.
            token: The lease's own name, by which whoever chose it can fence it (`fence`).

        Raises:
            StoreError: The leases can't be written, or a name is none.
        """
        if not self.free(item):
            return None
        token = token or uuid.uuid4().hex
        if not _NAME.fullmatch(token):
            raise StoreError(f"{token!r} can't name a lease")
        lease = self._place(item, Holder.here(token))
        if lease is not None:
            lease.predecessor = self.ended.pop(item, "")
        return lease

    def free(self, item: str) -> bool:
        """Whether nobody holds the item, or none but a holder that is expired, and fenced now.

        To know that a holder on another machine is expired takes an observer who has watched it
        for `EXPIRY` s; it frees the item for takers who have not.

        Raises:
            StoreError: The leases can't be read or written.
        """
        for holder in self.holders(item):
            if not self.expired(item, holder):
                return False
            self.fence(item, holder.token)
            gone = f"process {holder.pid} on {holder.host}" if holder.pid else "an unknown process"
            why = "has ended" if holder.dead else f"sent no heartbeat for {EXPIRY:.0f} s"
            self.ended[item] = f"{gone} {why}"
        return True

    def expired(self, item: str, holder: Holder) -> bool:
        """Whether the holder is dead, or has not beaten for `EXPIRY` s while we watched."""
        now = self._clock()
        beat, since = self._seen.get((item, holder.token), (-1, now))
        if beat != holder.beat:
            since = now
        self._seen[item, holder.token] = (holder.beat, since)
        return holder.dead or now - since >= EXPIRY

    @abstractmethod
    def holders(self, item: str) -> list[Holder]:
        """Who holds the item: nobody, or one, known by its token alone while it can't be read."""

    @abstractmethod
    def held(self) -> dict[str, Holder]:
        """Every held item with its holder."""

    @abstractmethod
    def age(self, item: str, holder: Holder) -> float | None:
        """Seconds since the last heartbeat, by the store's clock; None if there is none."""

    @abstractmethod
    def fence(self, item: str, token: str) -> bool:
        """Ends a holder's right at once: whatever it still tries to write will fail.

        A successor who came first is left alone.

        Returns:
            Whether such a lease was held.

        Raises:
            StoreError: It can't be done, or a name is none.
        """

    @abstractmethod
    def _place(self, item: str, holder: Holder) -> L | None:
        """Takes the item, unless someone else was first."""


def checked(item: str) -> str:
    """The item's id.

    Raises:
        StoreError: It is none.
    """
    if not _NAME.fullmatch(item):
        raise StoreError(f"{item!r} is no item", fix="name it by its id")
    return item
