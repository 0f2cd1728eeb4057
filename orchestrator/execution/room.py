"""A full store: what is said of it, and when there is room again."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

from orchestrator.output.text import byte_size
from results_schema import layout
from results_schema.errors import StoreFull
from results_schema.store import Store

EVERY = 10.0
"""Seconds between two looks whether there is room."""


class Room:
    """Whether a store has room to write; looks only after a write found none.

    Args:
        store: Looked at.
        clock: Tells the time, in seconds.
        say: Told when the room ran out, and when there is some again.

    Attributes:
        full: Why nothing can be written, or empty.
        size: Bytes to look for: what a trial writes at once, which is a checkpoint.
    """

    def __init__(
        self, store: Store, clock: Callable[[], float], say: Callable[[str], None]
    ) -> None:
        self._store, self._clock, self._say = store, clock, say
        self._next = 0.0
        self.full = ""
        self.size = 1_000_000

    def ran_out(self, reason: str) -> None:
        """Takes note of a write that found no room, and says so once."""
        self._next = self._clock() + EVERY
        if not self.full:
            self.full = reason
            self._say(
                f"paused: {reason}\n  the sweep goes on by itself once {byte_size(self.size)} can "
                f"be written (a look every {EVERY:.0f} s); Ctrl-C leaves, and the same command "
                "goes on"
            )

    def enough(self) -> bool:
        """Whether there is room, as far as is known; looks again when it is time to.

        Raises:
            StoreError: The store has become unfit in another way.
        """
        if not self.full:
            return True
        if self._clock() < self._next:
            return False
        key = layout.room(uuid.uuid4().hex)
        try:
            # Random bytes, as a file system may keep zeros in no room at all.
            self._store.put(key, os.urandom(self.size), durable=True)
            self._store.delete(key)
        except StoreFull:
            self._next = self._clock() + EVERY
            return False
        self.full = ""
        self._say("there is room again: going on")
        return True
