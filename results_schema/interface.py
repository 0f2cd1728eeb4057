"""What every store does, in a folder (`results_schema.folder`) or a bucket (`results_schema.s3`).

A put is atomic, and one under a lease is done only while the lease holds. Keys are relative paths
with forward slashes (`layout`); they are checked here, before a store sees them.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from results_schema.errors import MissingKey
from results_schema.layout import Stat, checked_key, folder_key
from results_schema.lease import Lease, Leases


class Store(ABC):
    """Put, get, list and delete behind everything that is kept. Threads may share a store.

    Attributes:
        location: Opens the store again, here or on another machine: a folder or a URL.
        leases: The leases on the store's items.
    """

    location: str
    leases: Leases[Any]

    @property
    def hasty(self) -> Store:
        """The same store for requests that are repeated soon: given up early where it can be."""
        return self

    def put(
        self,
        key: str,
        data: bytes,
        *,
        lease: Lease | None = None,
        durable: bool = False,
        final: bool = False,
    ) -> None:
        """Replace what is stored under the key, atomically.

        Args:
            key: The key.
            data: The bytes.
            lease: If given, write only while this lease holds.
            durable: Whether the bytes must survive a power cut from here on.
            final: Whether they are the item's last under this key; a store that hides live bytes
                from other programs shows them these.

        Raises:
            Superseded: The lease has been taken over; nothing was written.
            StoreError: It could not be written; what was there before still is.
        """
        self._put(checked_key(key), data, lease, durable, final)

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Return the bytes under the key.

        Args:
            key: The key.
            most: How many there may be; if there are more, none is read, lest they fill the memory.

        Raises:
            MissingKey: Nothing is stored under it.
            CorruptData: There are more bytes than `most`.
            StoreError: They could not be read.
        """
        return self._get(checked_key(key), most)

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each key with its bytes, in order, as fast as the store can; omit missing ones."""
        # One after the other: threads that check bytes would keep each other waiting for longer.
        for key in keys:
            with contextlib.suppress(MissingKey):
                yield key, self.get(key)

    def has(self, key: str) -> bool:
        """Return whether anything is stored under the key."""
        return self.stat(key) is not None

    def list(self, prefix: str) -> list[str]:
        """Return all keys below a folder's key, which ends in a slash, sorted.

        Files of other programs whose names are not keys, such as `.DS_Store`, are omitted.
        """
        return sorted(self._names(folder_key(prefix)))

    def stats(self, prefix: str) -> dict[str, Stat]:
        """Return the keys that `list` returns, each with its size, version and age."""
        return dict(sorted(self._stats(folder_key(prefix))))

    def stat(self, key: str) -> Stat | None:
        """Return size, version and age of one key; None if nothing is stored under it."""
        return self._stat(checked_key(key))

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """Remove what is stored under the key, if anything is.

        Args:
            key: The key.
            lease: If given, remove only while this lease holds.

        Raises:
            Superseded: The lease has been taken over; nothing was removed.
            StoreError: It could not be removed.
        """
        self._delete(checked_key(key), lease)

    def locate(self, key: str) -> str:
        """Return where a person finds what is stored under the key."""
        return self._locate(checked_key(key))

    @abstractmethod
    def _put(
        self, key: str, data: bytes, lease: Lease | None, durable: bool, final: bool
    ) -> None: ...

    @abstractmethod
    def _get(self, key: str, most: int | None) -> bytes: ...

    def _names(self, prefix: str) -> Iterable[str]:
        return (key for key, _ in self._stats(prefix))

    @abstractmethod
    def _stats(self, prefix: str) -> Iterable[tuple[str, Stat]]: ...

    @abstractmethod
    def _stat(self, key: str) -> Stat | None: ...

    @abstractmethod
    def _delete(self, key: str, lease: Lease | None) -> None: ...

    @abstractmethod
    def _locate(self, key: str) -> str: ...
