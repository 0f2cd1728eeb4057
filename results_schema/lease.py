"""A lease: a worker's sole right to an item, and the fence that stops a worker that lost it.

A worker whose node was declared dead may train on; its writes must not mix with its successor's.
How a lease is kept, and how it fences, is the store's affair: `results_schema.folder` for a
folder, `results_schema.s3.leases` for a bucket. When it is expired is the same in all.
"""

from __future__ import annotations

import json
import os
import re
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Generic, TypeVar

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import StoreError


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        token: The lease's own name.
        host: Name of the machine.
        machine: Identifies the machine's boot and its space of process ids.
        pid: The process; 0 if it is unknown.
        born: When the process started, in clock ticks since boot; tells reused pids apart. 0 if
            that is unknown.
        beat: Changes with each heartbeat.
    """

    token: str
    host: str
    machine: str
    pid: int
    born: int
    beat: int

    @classmethod
    def here(cls, token: str) -> Holder:
        """This very process."""
        pid = os.getpid()
        return cls(token, socket.gethostname(), _machine(), pid, _process_stat(pid)[1], 0)

    @classmethod
    def from_json(cls, text: bytes, token: str) -> Holder:
        """What `to_json` wrote; known by its token alone if it is damaged."""
        try:
            holder = cls(**parse_json(text) | {"token": token})
            if not 0 <= holder.pid < 2**31:
                raise ValueError(f"no process id: {holder.pid}")
            return holder
        except (ValueError, TypeError):
            return cls(token, "unknown", "", 0, 0, 0)

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self))

    @property
    def dead(self) -> bool:
        """Whether the holder is known to be gone: it ran here, and its process is no more."""
        return self.pid > 0 and self.machine == _machine() and _gone(self.pid, self.born)


def _machine() -> str:
    """This boot of this machine and its space of process ids, which containers do not share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    if not boot.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()}-{space.readlink()}"


def _gone(pid: int, born: int) -> bool:
    """Whether no process has the id, or another one, or there are only its unreaped remains."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's
    state, now = _process_stat(pid)
    return state == "Z" or (0 not in (born, now) and born != now)


def _process_stat(pid: int) -> tuple[str, int]:
    """A process's state and when it started; "" and 0 where that can't be seen.

    There may be no /proc, or one mounted with `hidepid`, which hides other users' processes.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return "", 0
    return stat[0], int(stat[19])


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
