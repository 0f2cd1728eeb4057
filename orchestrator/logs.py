"""Prints a trial's log, and what its worker adds to it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import click

from orchestrator import lookup
from results_schema import layout
from results_schema.errors import MissingKey, StoreError
from results_schema.store import LocalStore

EVERY = 0.5
"""Seconds between two looks."""


def show_log(start: str, location: str, *, follow: bool) -> None:
    """Prints the log of the trial whose id begins so.

    Args:
        start: Of the trial's id.
        location: The store's folder.
        follow: Whether to go on until the trial has ended, failed or was cancelled.

    Raises:
        ConfigError: No trial's id begins so, or several do.
        StoreError: The store can't be read, or has no log of this trial.
    """
    store = lookup.existing_store(location)
    trial_id = lookup.find_trial(store, start)
    if not follow and not store.has(layout.log(trial_id)):
        raise StoreError(
            "this trial has no log yet",
            where=store.locate(layout.log(trial_id)),
            fix="--follow waits for it",
        )
    for text in additions(store, trial_id, follow=follow):
        click.echo(text, nl=False)


def additions(store: LocalStore, trial_id: str, *, follow: bool) -> Iterator[str]:
    """The log so far and, when following, each piece that is added before the trial ends."""
    shown = b""
    while True:
        # Asked before reading: the last line is written before the ending.
        over = not follow or _over(store, trial_id)
        text = _read(store, trial_id)
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


def _over(store: LocalStore, trial_id: str) -> bool:
    if store.has(layout.trial(trial_id)):
        return True
    left = layout.failure(trial_id), layout.cancel(trial_id)
    return not store.leases.holders(trial_id) and any(store.has(key) for key in left)


def _read(store: LocalStore, trial_id: str) -> bytes:
    try:
        return store.get(layout.log(trial_id))
    except MissingKey:
        return b""
