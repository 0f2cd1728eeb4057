"""A mark that a process's children inherit, by which a test knows its own from every other's.

A walk down the tree of processes would miss those whose parent has died.
"""

from __future__ import annotations

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
        return [process for process in psutil.process_iter() if self._is_on(process)]

    def _is_on(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(self._name) == self._value
        except psutil.Error:
            return False
