"""A launch with all that it starts, told from every other process by a mark."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
from marks import Mark
from sweeps import started


class Family:
    """What one launch has started, and what it leaves.

    Attributes:
        head: The launch itself.
        folder: Where it may put temporary files.
        shared: Files in shared memory that its processes were seen to have.
    """

    def __init__(self, head: subprocess.Popen[str], mark: Mark, folder: Path) -> None:
        self.head, self.folder, self._mark = head, folder, mark
        self.shared: set[str] = set()

    def alive(self) -> list[psutil.Process]:
        """Its processes that still run, the launch among them."""
        return self._mark.alive()

    def look(self) -> int:
        """Takes note of shared memory that is in use now; returns how many processes there are."""
        members = self.alive()
        for process in members:
            with contextlib.suppress(OSError):
                for link in Path(f"/proc/{process.pid}/fd").iterdir():
                    with contextlib.suppress(OSError):
                        self._note(str(link.readlink()))
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
                    self._note(line.split(maxsplit=5)[-1])
        return len(members)

    def leftovers(self) -> list[str]:
        """Processes, shared memory and temporary files that are there though all should be gone."""
        processes = [f"{p.pid} {' '.join(p.cmdline())[:80]}" for p in self.alive()]
        memory = [path for path in self.shared if Path(path).exists()]
        return processes + sorted(memory) + sorted(str(p) for p in self.folder.iterdir())

    def _note(self, path: str) -> None:
        if path.startswith("/dev/shm/"):
            self.shared.add(path.removesuffix(" (deleted)"))


@contextlib.contextmanager
def family(*arguments: object, terminal: str = "", **environment: str) -> Iterator[Family]:
    """A command with a mark and a folder for temporary files of its own; all gone at the end."""
    mark = Mark("FAMILY")
    # Short, for the names of Ray's sockets.
    folder = Path(tempfile.mkdtemp(prefix="nsf-", dir="/tmp"))
    try:
        environment |= mark.environment | {"TMPDIR": str(folder)}
        with started(*arguments, terminal=terminal, **environment) as head:
            members = Family(head, mark, folder)
            try:
                yield members
            finally:
                for process in members.alive():
                    with contextlib.suppress(psutil.Error):
                        os.kill(process.pid, 9)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
