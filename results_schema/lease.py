"""A lease: a worker's sole right to an item, and the fence that stops a worker that lost it.

A worker whose node was declared dead may train on; its writes must not mix with its successor's.
A lease on item X is a folder `leases/X/<token>/`. It is taken by renaming a prepared folder to
`leases/X`, which succeeds for one taker alone. Every write of the holder is staged inside its
token folder and renamed out of it (`results_schema.store`). A successor first removes that
folder: from then on the old holder's writes fail with ENOENT, and it stops. The folder is never
made again, and no file in it stays open.

A lease is expired when its heartbeat has not changed for `EXPIRY` seconds of the observer's own
monotonic clock, or when its holder ran on this very machine and its process is gone.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import threading
import time
import uuid
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from results_schema.errors import StoreError, Superseded

BEAT = 5.0
"""Seconds between heartbeats."""
EXPIRY = 60.0
"""Seconds without a heartbeat after which a lease may be taken over."""

_HELD = {errno.ENOTEMPTY, errno.EEXIST}
_GONE = {errno.ENOENT, errno.ESTALE, errno.ENOTDIR}


@dataclass(frozen=True)
class Holder:
    """Who holds a lease.

    Attributes:
        token: The lease's own name.
        host: Name of the machine.
        machine: Identifies the machine's boot and its space of process ids.
        pid: The process.
        born: When the process started, in clock ticks since boot; tells reused pids apart.
        beat: Changes with each heartbeat.
    """

    token: str
    host: str
    machine: str
    pid: int
    born: int
    beat: int

    @property
    def dead(self) -> bool:
        """Whether the holder is known to be gone: it ran here, and its process is no more."""
        return self.machine == _machine() and _born(self.pid) != self.born


class Lease:
    """A held lease. As a context it keeps beating and is released at the end."""

    def __init__(self, outer: Path, holder: Holder) -> None:
        self.item = outer.name
        self.folder = outer / holder.token
        self._outer, self._holder = outer, holder
        self._done = threading.Event()
        self._beats = 0

    def __enter__(self) -> Lease:
        self._thread = threading.Thread(target=self._keep_beating, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self.release()

    def check(self, error: OSError) -> None:
        """Tells a lost lease from a failing disk.

        Raises:
            Superseded: The error says that the lease's folder is gone, and it is.
        """
        if error.errno in _GONE and not self.folder.exists():
            raise Superseded(f"another worker has taken over {self.item}") from error

    def beat(self) -> bool:
        """Renews the heartbeat; false if the lease is lost."""
        self._beats += 1
        holder = replace(self._holder, beat=self._beats)
        fresh = self.folder / "heartbeat.new"
        try:
            fresh.write_text(json.dumps(asdict(holder)))
            fresh.replace(self.folder / "heartbeat")
        except OSError as error:
            return error.errno not in _GONE
        return True

    def release(self) -> None:
        """Gives the item back. Does nothing if the lease is lost."""
        with contextlib.suppress(OSError):
            _clear(self.folder)
            self._outer.rmdir()

    def _keep_beating(self) -> None:
        while not self._done.wait(BEAT) and self.beat():
            pass


class Leases:
    """All leases of a store.

    Args:
        root: The folder `leases` of the store.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._seen: dict[str, tuple[str, int, float]] = {}

    def take(self, item: str, token: str | None = None) -> Lease | None:
        """Takes a free or expired item; None if someone else holds it.

        The caller must check again that the item is still owed: its last holder may have
        finished it.

        Args:
            item: The item's id.
            token: The lease's own name, by which whoever chose it can fence it (`fence`).

        Raises:
            StoreError: The leases' folder can't be written.
        """
        for holder in self.holders(item):
            if not self.expired(item, holder):
                return None
            self.fence(item, holder.token)
        return self._place(item, token or uuid.uuid4().hex)

    def holders(self, item: str) -> list[Holder]:
        """Who holds the item: nobody, one, or for a moment during a takeover an unknown one."""
        try:
            tokens = [entry.name for entry in os.scandir(self._root / item) if entry.is_dir()]
        except FileNotFoundError:
            return []
        return [self._read(item, token) for token in tokens]

    def held(self) -> dict[str, Holder]:
        """Every held item with its holder."""
        try:
            items = [e.name for e in os.scandir(self._root) if not e.name.startswith(".")]
        except FileNotFoundError:
            return {}
        return {item: holder for item in items for holder in self.holders(item)}

    def expired(self, item: str, holder: Holder) -> bool:
        """Whether the holder is dead, or has not beaten for `EXPIRY` s while we watched."""
        now = time.monotonic()
        token, beat, since = self._seen.get(item, ("", -1, now))
        if (token, beat) != (holder.token, holder.beat):
            self._seen[item] = (holder.token, holder.beat, now)
            since = now
        return holder.dead or now - since >= EXPIRY

    def fence(self, item: str, token: str) -> None:
        """Ends a holder's right at once: whatever it still tries to write will fail.

        Only this token's folder is removed, so that a successor who came first is left alone.
        """
        _clear(self._root / item / token)
        self._seen.pop(item, None)
        with contextlib.suppress(OSError):
            (self._root / item).rmdir()

    def _place(self, item: str, token: str) -> Lease | None:
        outer = self._root / f".new-{uuid.uuid4().hex}"
        pid = os.getpid()
        holder = Holder(token, socket.gethostname(), _machine(), pid, _born(pid), 0)
        try:
            (outer / token).mkdir(parents=True)
            (outer / token / "heartbeat").write_text(json.dumps(asdict(holder)))
            outer.rename(self._root / item)
        except OSError as error:
            shutil.rmtree(outer, ignore_errors=True)
            if error.errno in _HELD:
                return None
            raise StoreError(
                error.strerror or str(error),
                where=str(self._root / item),
                fix="mend the store's file system, then launch again",
            ) from error
        return Lease(self._root / item, holder)

    def _read(self, item: str, token: str) -> Holder:
        """The holder, known by its token alone while its heartbeat can't be read."""
        try:
            return Holder(**json.loads((self._root / item / token / "heartbeat").read_bytes()))
        except (OSError, ValueError, TypeError):
            return Holder(token, "unknown", "", 0, 0, 0)


def _clear(folder: Path) -> None:
    """Empties and removes a folder into which another process may still be writing."""
    for _ in range(1000):
        try:
            for entry in os.scandir(folder):
                with contextlib.suppress(FileNotFoundError):
                    Path(entry.path).unlink()
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _HELD:
                raise
    raise StoreError(
        "its holder keeps writing there", where=str(folder), fix="stop that worker, launch again"
    )


def _machine() -> str:
    """This boot of this machine and its space of process ids, which containers do not share."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    if not boot.exists():
        return socket.gethostname()
    return f"{boot.read_text().strip()}-{space.readlink()}"


def _born(pid: int) -> int:
    """When a process started; 0 if there is no such process, or only its unreaped remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return 0 if stat[0] == "Z" else int(stat[19])
