"""The own log of a trial or surface: a text in the store, appended to by every attempt."""

from __future__ import annotations

import contextlib
import threading
from datetime import UTC, datetime

from results_schema import layout
from results_schema.errors import MissingKey, NasSweepError, StoreError
from results_schema.lease import Lease
from results_schema.store import Store


class ItemLog:
    """The log of one attempt, behind those of the attempts before it.

    Any thread may add lines; the one that works under the lease writes them.
    """

    def __init__(self, store: Store, lease: Lease, item: str) -> None:
        self._store, self._lease, self._key = store, lease, layout.log(item)
        self._past: bytes | None = None
        self._adding = threading.Lock()
        self._text = ""
        self._tried = 0

    def say(self, line: str) -> None:
        """Adds a line with the time; it is kept from the next `flush` on."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        with self._adding:
            self._text += f"{now[:19]} {line}\n"

    @property
    def begun(self) -> bool:
        """Whether this attempt has a line."""
        return bool(self._text)

    @property
    def pending(self) -> bool:
        """Whether there are lines that were not written, nor tried to be."""
        return len(self._text) > self._tried

    def flush(self) -> None:
        """Writes what was said so far.

        Raises:
            Superseded: The lease is lost.
            StoreError: The store can't be read or written.
        """
        text = self._text
        self._tried = len(text)
        if self._past is None:
            self._past = self._read()
        self._store.put(self._key, self._past + text.encode(), lease=self._lease)

    def try_flush(self) -> None:
        """Write what was said so far if the store can be written; else the next `flush` does.

        Raises:
            Superseded: The lease is lost.
        """
        with contextlib.suppress(StoreError):
            self.flush()

    def _read(self) -> bytes:
        try:
            return self._store.get(self._key)
        except MissingKey:
            return b""


def append(store: Store, item: str, line: str) -> None:
    """Add a line to the log of an item that no worker holds, such as why its worker is gone.

    Does nothing if a worker holds the item, which then has more to say, or the store fails.
    """
    with contextlib.suppress(NasSweepError):
        lease = store.leases.take(item)
        if lease is not None:
            with lease:
                log = ItemLog(store, lease, item)
                log.say(line)
                log.flush()
