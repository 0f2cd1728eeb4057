"""Who holds a lease: a process, known well enough to tell whether it still lives."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


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

    @classmethod
    def here(cls, token: str) -> Holder:
        """This very process."""
        pid = os.getpid()
        return cls(token, socket.gethostname(), _machine(), pid, _born(pid), 0)

    @classmethod
    def of(cls, folder: Path) -> Holder:
        """The holder whose folder this is, known by its token alone while it can't be read."""
        try:
            read = json.loads((folder / "heartbeat").read_bytes())
            return cls(**read | {"token": folder.name})
        except (OSError, ValueError, TypeError):
            return cls(folder.name, "unknown", "", 0, 0, 0)

    def write(self, path: Path) -> None:
        """Writes what `of` reads."""
        path.write_text(json.dumps(asdict(self)))

    @property
    def dead(self) -> bool:
        """Whether the holder is known to be gone: it ran here, and its process is no more."""
        return self.machine == _machine() and _born(self.pid) != self.born


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
