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
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease may be taken over."""

_NAME = re.compile(layout.NAME)


class Lease(ABC):
    """A held lease. As a context it keeps beating and is released at the end."""

    def __init__(self, item: str, holder: Holder) -> None:
        self.item = item
        self._holder = holder
        self._done = threading.Event()

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.release()

    @property
    def token(self) -> str:
        """The lease's own name."""
        return self._holder.token

    @abstractmethod
    def beat(self) -> bool:
        """Renews the heartbeat; false if the lease is lost."""

    @abstractmethod
    def release(self) -> None:
        """Gives the item back. Does nothing if the lease is lost."""

    def _keep_beating(self) -> None:
        while not self._done.wait(BEAT) and self.beat():
            pass


L = TypeVar("L", bound=Lease, covariant=True)


class Leases(ABC, Generic[L]):
    """All leases of a store.

    Args:
        clock: Gives the observer's time, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}

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
        return self._place(item, Holder.here(token))

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
    def fence(self, item: str, token: str) -> None:
        """Ends a holder's right at once: whatever it still tries to write will fail.

        A successor who came first is left alone.

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
