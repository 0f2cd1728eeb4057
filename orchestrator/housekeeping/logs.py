"""Prints the log of a trial or surface, and what its worker adds to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from orchestrator.housekeeping import lookup
from orchestrator.output.text import escape_control
from results_schema import layout
from results_schema.errors import MissingKey, StoreError
from results_schema.store import Store

EVERY = 0.5
"""Seconds between two looks."""


def show_log(start: str, location: str, *, follow: bool) -> None:
    """Prints the log of the trial whose id begins so, or with an `@` in it of the surface.

    Whatever a worker wrote is shown, but nothing in it is obeyed by the terminal.

    Args:
        start: Of the id.
        location: The store's folder.
        follow: Whether to go on until it has ended, failed or was cancelled.

    Raises:
        ConfigError: No id begins so, or several do.
        StoreError: The store can't be read, or has no such log.
    """
    store = lookup.existing_store(location)
    item = lookup.find_item(store, start)
    if not follow and not store.has(layout.log(item)):
        raise StoreError(
            "there is no log yet",
            where=store.locate(layout.log(item)),
            fix="--follow waits for it",
        )
    for text in additions(store, item, follow=follow):
        click.echo(escape_control(text), nl=False)


def additions(store: Store, item: str, *, follow: bool) -> Iterator[str]:
    """The log so far and, when following, each piece that is added before the end."""
    shown = b""
    while True:
        # Asked before reading: the last line is written before the ending.
        over = not follow or _over(store, item)
        text = _read(store, item)
        # Up to the last line's end, so that no character is cut in two.
        text = text[: text.rfind(b"\n") + 1] if follow and not over else text
        if text != shown:
            # A log that was put back, and not added to, is shown from its start.
            new = text[len(shown) :] if text.startswith(shown) else text
            yield new.decode(errors="replace")
            shown = text
        if over:
            return
        time.sleep(EVERY)


def _over(store: Store, item: str) -> bool:
    ended = layout.surface if layout.is_surface(item) else layout.trial
    if store.has(ended(item)):
        return True
    left = layout.failure(item), layout.cancel(item)
    return not store.leases.holders(item) and any(store.has(key) for key in left)


def _read(store: Store, item: str) -> bytes:
    try:
        return store.get(layout.log(item))
    except MissingKey:
        return b""
