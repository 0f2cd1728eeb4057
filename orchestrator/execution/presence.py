"""A launch's presence: the file by which workers know the store, and `gc` a launch that lives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from results_schema import layout
from results_schema.errors import StoreError
from results_schema.lease import Holder
from results_schema.store import Store

RENEWAL = 3600.0
"""Seconds after which the file is written anew: `gc` takes one a day old for a dead launch's."""


@contextlib.contextmanager
def present(store: Store, launch: str) -> Iterator[None]:
    """Inside this context the launch's file lies in the store, and tells who launched.

    Raises:
        StoreError: It can't be written at first.
    """
    key, content = layout.launch(launch), Holder.here(launch).to_json().encode()
    over = threading.Event()

    def renew() -> None:
        while not over.wait(RENEWAL):
            with contextlib.suppress(StoreError):
                store.put(key, content)

    store.put(key, content)
    thread = threading.Thread(target=renew, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        with contextlib.suppress(StoreError):
            store.delete(key)
