"""A mark that a process's children inherit, by which a test knows its own from every other's.

A walk down the tree of processes would miss those whose parent has died.
"""

from __future__ import annotations

import contextlib
import uuid

import psutil


class Mark:
    """A mark that no other process has.

    Args:
        kind: Of what it marks: a process may have marks of several kinds.

    Attributes:
        environment: To start processes with.
    """

    def __init__(self, kind: str) -> None:
        self._name, self._value = f"NAS_SWEEP_TEST_{kind}", uuid.uuid4().hex
        self.environment = {self._name: self._value}

    def alive(self) -> list[psutil.Process]:
        """The processes with it that still run."""
        found = []
        for pid in psutil.pids():
            with contextlib.suppress(psutil.Error, IndexError):
                process = psutil.Process(pid)
                if process.environ().get(self._name) == self._value:
                    found += [process] * (process.status() != psutil.STATUS_ZOMBIE)
        return found


def children(parent: psutil.Process | None = None) -> set[psutil.Process]:
    """Processes that this one or another has started, and theirs.

    psutil reads every entry of /proc for it, and finds nothing to parse in that of a process which
    is ending: IndexError. Then it is asked again.
    """
    while True:
        with contextlib.suppress(IndexError):
            return set((parent or psutil.Process()).children(recursive=True))
