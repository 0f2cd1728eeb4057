"""The own log of a trial or surface: a text in the store, appended to by every attempt."""

from __future__ import annotations

from datetime import UTC, datetime

from results_schema import layout
from results_schema.errors import MissingKey
from results_schema.lease import Lease
from results_schema.store import Store


class ItemLog:
    """The log of one attempt, behind those of the attempts before it."""

    def __init__(self, store: Store, lease: Lease, item: str) -> None:
        self._store, self._lease, self._key = store, lease, layout.log(item)
        self._past: bytes | None = None
        self._text = ""

    def say(self, line: str) -> None:
        """Adds a line with the time; it is kept from the next `flush` on."""
        now = datetime.now(UTC).isoformat(sep=" ", timespec="seconds")
        self._text += f"{now[:19]} {line}\n"

    def flush(self) -> None:
        """Writes what was said so far.

        Raises:
            Superseded: The lease is lost.
            StoreError: The store can't be read or written.
        """
        if self._past is None:
            self._past = self._read()
        self._store.put(self._key, self._past + self._text.encode(), lease=self._lease)

    def _read(self) -> bytes:
        try:
            return self._store.get(self._key)
        except MissingKey:
            return b""
