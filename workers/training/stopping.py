"""Leaving off in the middle of an epoch: between two batches, within a second of being asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

EVERY = 1.0
"""Seconds between two questions within an epoch: whoever answers looks for files."""

Batch = TypeVar("Batch")


class Stopped(Exception):
    """The epoch that was running is given up."""


class Stopping:
    """Knows whether to leave off.

    Args:
        asked: Answers that; called before each epoch, and within one every `EVERY` s.
    """

    def __init__(self, asked: Callable[[], bool]) -> None:
        self._asked = asked
        self._last = time.monotonic()

    def check(self) -> None:
        """Asks.

        Raises:
            Stopped: The answer was yes.
        """
        stop = self._asked()
        self._last = time.monotonic()
        if stop:
            raise Stopped

    def between(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """The same batches; asks before one of them when it is time to.

        Raises:
            Stopped: The answer was yes.
        """
        for batch in batches:
            self.pause()
            yield batch

    def pause(self) -> None:
        """Asks if it is time to.

        Raises:
            Stopped: The answer was yes.
        """
        if time.monotonic() - self._last >= EVERY:
            self.check()
