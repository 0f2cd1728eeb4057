"""Leases: a worker's exclusive right to an item, and the fence that stops a worker that lost it.

A worker whose node was declared dead may still run; its writes must not mix with its successor's.
Here is what all stores share: who holds a lease, how a held lease is kept alive, and when it has
expired. How a store keeps and fences leases: `results_schema.folder`, `results_schema.s3.leases`.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from results_schema.canonical import parse_json
from results_schema.errors import StoreError
from results_schema.layout import checked_item, is_name

BEAT = 5.0
"""Seconds between heartbeats."""
ASK = 1.0
"""Seconds between two calls of a lease's duty."""
SLOW = 5.0
"""Seconds after which it is reported that the store took long to answer."""
RELEASE_TIMEOUT = 2.0
"""Seconds for which leaving a lease waits for its release: a store may not answer for minutes."""
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease may be taken over."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a lease, described so that others can see whether it is alive.

    Attributes:
        token: Name of the lease.
        host: Name of the machine.
        machine: Identifies the machine's boot and its PID namespace.
        pid: ID of the process; 0 if unknown.
        born: When the process started, in clock ticks since boot; 0 if unknown.
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
        """Return this process as the holder of a lease."""
        pid = os.getpid()
        return cls(token, socket.gethostname(), _machine(), pid, _process_stat(pid)[1], 0)

    @classmethod
    def from_json(cls, text: bytes, token: str) -> Holder:
        """Return what `to_json` wrote, or a holder known by its token alone if it is damaged."""
        try:
            # The token names a folder that may be removed, so it never comes from the content.
            holder = cls(**parse_json(text) | {"token": token})
            # A negative PID, or an enormous one, would make `os.kill` signal a group or overflow.
            if not 0 <= holder.pid < 2**31:
                raise ValueError(f"no process id: {holder.pid}")
            return holder
        except (ValueError, TypeError):
            return cls(token, "unknown", "", 0, 0, 0)

    def to_json(self) -> str:
        """Return all attributes as JSON."""
        return json.dumps(asdict(self))

    @property
    def dead(self) -> bool:
        """Whether the holder is known to be gone: it ran here, and its process has ended."""
        return self.pid > 0 and self.machine == _machine() and _has_ended(self.pid, self.born)


class Lease(ABC):
    """A held lease. As a context manager it sends heartbeats, and is released at the end.

    Attributes:
        item: ID of the item.
        lost: Set once a heartbeat finds that another worker has taken over.
        healthy: Whether the last heartbeat succeeded.
        predecessor: Which holder's expired lease was ended for this one, and why; else empty.
        duty: Called every `ASK` s by the thread that sends heartbeats, such as to look for a stop
            request.
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
        # One thread makes all requests that keep the lease. One that hangs delays the next ones,
        # but neither the work under the lease nor, as the thread is a daemon, its end.
        self._thread = threading.Thread(target=self._keep, name=f"lease {self.item}", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._left.set()
        self._thread.join(RELEASE_TIMEOUT)

    @property
    def token(self) -> str:
        """Name of the lease."""
        return self._holder.token

    def beat(self) -> bool:
        """Renew the heartbeat; return False if the lease is lost.

        Raises:
            StoreError: It could not be renewed; the next one may be.
        """
        self._holder = replace(self._holder, beat=self._holder.beat + 1)
        return self._renew(self._holder.to_json().encode())

    @abstractmethod
    def _renew(self, text: bytes) -> bool:
        """Write the heartbeat's text, unless the lease is lost."""

    def release(self) -> None:
        """Give the item back; do nothing if the lease is lost."""
        # An item that can't be given back expires, so that no error need hide the work's own.
        with contextlib.suppress(OSError, StoreError):
            self._give_back()

    @abstractmethod
    def _give_back(self) -> None: ...

    def _keep(self) -> None:
        due = time.monotonic() + BEAT
        while not self._left.wait(min(ASK, BEAT)):
            if time.monotonic() >= due:
                # Set before the request, so that a slow store does not stretch the interval.
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
        start = time.monotonic()
        try:
            act()
        except Exception as error:  # one that ended the thread would lose the lease
            # A store that is away for an hour fails hundreds of times, which is one event.
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
T = TypeVar("T", bound=Lease)


class Leases(ABC, Generic[L]):
    """All leases of a store.

    Args:
        clock: Returns the observer's time, in seconds.

    Attributes:
        ended: Which holder's expired lease `free` has ended, and why, by item, until someone takes
            it from here to log it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: dict[tuple[str, str], tuple[int, float]] = {}
        self.ended: dict[str, str] = {}

    def take(self, item: str, token: str | None = None) -> L | None:
        """Take a free or expired item; return None if someone else holds it.

        The caller must check again that work on the item remains: its last holder may have
        finished it.

        Args:
            item: ID of the item.
            token: Name of the lease, by which whoever chose it can fence it.

        Raises:
            StoreError: The leases can't be written, or a name is not valid.
        """
        if not self.free(item):
            return None
        token = token or uuid.uuid4().hex
        if not is_name(token):
            raise StoreError(f"{token!r} can't name a lease")
        lease = self._place(item, Holder.here(token))
        if lease is not None:
            lease.predecessor = self.ended.pop(item, "")
        return lease

    def wait(self, item: str, most: float = 2 * EXPIRY) -> L:
        """Take what others hold for moments, once it is free.

        Raises:
            StoreError: It is not free after `most` seconds, or as `take` does.
        """
        end, pause = time.monotonic() + most, 0.05
        while (lease := self.take(item)) is None:
            if time.monotonic() > end:
                what = f"another process keeps the lease on {item}"
                raise StoreError(what, fix="wait until it has ended, or stop it")
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        return lease

    def free(self, item: str) -> bool:
        """Return whether nobody holds the item, after fencing a holder that has expired.

        Only an observer who has watched a holder on another machine for `EXPIRY` s knows that it
        has expired; by fencing it, it frees the item for takers who have not watched.

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
        """Return whether the holder is dead, or has sent no heartbeat for `EXPIRY` s."""
        # Clocks of two machines may differ by more than the expiry. So no time stamp is compared:
        # the observer counts, by its own clock, since when it has seen no change.
        now = self._clock()
        beat, since = self._seen.get((item, holder.token), (-1, now))
        if beat != holder.beat:
            since = now
        self._seen[item, holder.token] = (holder.beat, since)
        return holder.dead or now - since >= EXPIRY

    def fence(self, item: str, token: str) -> bool:
        """End a holder's right at once: whatever it still tries to write fails.

        A successor's lease on the item is not touched.

        Returns:
            Whether such a lease was held.

        Raises:
            StoreError: It can't be done, or a name is not valid.
        """
        # A token of another program's file among the leases need not be a name of ours.
        if token in ("", ".", "..") or "/" in token:
            raise StoreError(f"{token!r} names no lease")
        held = self._end(checked_item(item), token)
        self._seen.pop((item, token), None)
        return held

    def holders(self, item: str) -> list[Holder]:
        """Return who holds the item: nobody, or one, known by its token alone if unreadable."""
        return self._read(checked_item(item)).get(item, [])

    def held(self) -> dict[str, Holder]:
        """Return every held item with its holder."""
        return {item: holder for item, holders in self._read().items() for holder in holders}

    @abstractmethod
    def age(self, item: str, holder: Holder) -> float | None:
        """Return the seconds since the last heartbeat by the store's clock, or None."""

    @abstractmethod
    def _read(self, item: str | None = None) -> dict[str, list[Holder]]:
        """Return the holders of an item, or of all."""

    @abstractmethod
    def _place(self, item: str, holder: Holder) -> L | None:
        """Take the item, unless someone else was first."""

    @abstractmethod
    def _end(self, item: str, token: str) -> bool:
        """End the lease of a token; return whether it was held."""


def checked_lease(lease: Lease | None, kind: type[T]) -> T | None:
    """Return the lease, or raise `TypeError` if it is on an item of another kind of store."""
    if not (lease is None or isinstance(lease, kind)):
        raise TypeError(f"the lease on {lease.item} is another store's")
    return lease


def _machine() -> str:
    # Containers on one machine have PID namespaces of their own, in which an ID means another
    # process; a reboot starts the IDs from the beginning.
    boot = Path("/proc/sys/kernel/random/boot_id")
    if not boot.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()}-{Path('/proc/self/ns/pid').readlink()}"


def _has_ended(pid: int, born: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass  # another user's process, which is there
    state, now = _process_stat(pid)
    # A zombie can't write any more, and an ID that was reused belongs to another process.
    return state == "Z" or (0 not in (born, now) and born != now)


def _process_stat(pid: int) -> tuple[str, int]:
    """Return a process's state and start time, or "" and 0 where they can't be seen."""
    try:
        # The command's name, in parentheses before the state, may itself have spaces and more.
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        # There is no /proc here, or `hidepid` hides other users' processes.
        return "", 0
    return stat[0], int(stat[19])
