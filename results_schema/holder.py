"""Who holds a lease: a process, known well enough to tell whether it still lives."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path

from results_schema import foreign_json


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
        return cls(token, socket.gethostname(), _machine(), pid, _stat(pid)[1], 0)

    @classmethod
    def from_json(cls, text: bytes, token: str) -> Holder:
        """What `to_json` wrote; known by its token alone if it is damaged."""
        try:
            holder = cls(**foreign_json.read(text) | {"token": token})
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
    state, now = _stat(pid)
    return state == "Z" or (0 not in (born, now) and born != now)


def _stat(pid: int) -> tuple[str, int]:
    """A process's state and when it started; "" and 0 where that can't be seen.

    There may be no /proc, or one mounted with `hidepid`, which hides other users' processes.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return "", 0
    return stat[0], int(stat[19])
