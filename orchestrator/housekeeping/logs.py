"""Read the log of a trial or surface, and follow what its worker adds to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from orchestrator.housekeeping import lookup
from results_schema import layout
from results_schema.errors import MissingKey, StoreError
from results_schema.store import Store

POLL_SECONDS = 0.5
"""Seconds between two reads of a log that is followed."""


def find_log(store: Store, start: str, *, follow: bool) -> str:
    """Return the one trial or surface whose id begins with `start`.

    Raises:
        ConfigError: No id begins so, or several do.
        StoreError: There is no log yet, and it will not be followed.
    """
    item = lookup.find_item(store, start)
    if not follow and not store.has(layout.log(item)):
        raise StoreError(
            "there is no log yet",
            where=store.locate(layout.log(item)),
            fix="--follow waits for it",
        )
    return item


def read_log(store: Store, item: str, *, follow: bool) -> Iterator[str]:
    """Yield the log so far and, when following, each addition until the item has ended.

    The text is as the worker wrote it: escape its control characters before printing.
    """
    shown = b""
    while True:
        # Checked before the read: a worker writes its last line before it records the end.
        over = not follow or _is_over(store, item)
        text = _read(store, item)
        if follow and not over:
            # Up to the end of the last line, so that no character is cut in two.
            text = text[: text.rfind(b"\n") + 1]
        if text != shown:
            # A log that was replaced, not appended to, is shown from its start.
            new = text[len(shown) :] if text.startswith(shown) else text
            yield new.decode(errors="replace")
            shown = text
        if over:
            return
        time.sleep(POLL_SECONDS)


def _is_over(store: Store, item: str) -> bool:
    """Whether the item has ended, or nobody works on it after a failure or a cancellation."""
    if store.has(lookup.row_of(item)):
        return True
    stopped = layout.failure(item), layout.cancel(item)
    return not store.leases.holders(item) and any(store.has(key) for key in stopped)


def _read(store: Store, item: str) -> bytes:
    try:
        return store.get(layout.log(item))
    except MissingKey:
        return b""
