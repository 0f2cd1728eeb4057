"""Removes what nobody needs from a store: previews, asks, and touches nothing that is held.

Time passes at the prompt. What was shown is looked for again just before it is removed, under its
leases where it has any, and only what is litter both times is removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.litter import Litter, find_litter, parts_of, requests_and_remains
from orchestrator.housekeeping.lookup import Named
from orchestrator.housekeeping.removal import amount, remove, remove_some
from orchestrator.output.text import one_line
from results_schema import layout
from results_schema.folder_files import remove_abandoned
from results_schema.s3.store import S3Store
from results_schema.store import LocalStore, Store

LISTED = 20
"""Paths of each kind that the preview prints; of more, the number."""


def collect(location: str, *, unnamed: bool, checkpoints: bool, yes: bool) -> None:
    """Shows the litter by kind, with files and bytes, and removes it after a yes.

    Args:
        location: The store's folder.
        unnamed: See `find_litter`.
        checkpoints: See `find_litter`.
        yes: Whether not to ask.

    Raises:
        StoreError: The store can't be read or written.
    """
    store = lookup.existing_store(location)
    named = Named(store)
    every = find_litter(store, named, unnamed=unnamed, checkpoints=checkpoints)
    held = _held(store, every)
    if held:
        click.echo(f"{len(held)} trials are held and left alone")
    found = [one for one in every if one.item not in held]
    if not found:
        click.echo("nothing to remove")
        return
    for kind in dict.fromkeys(one.kind for one in found):
        _show(store, [one for one in found if one.kind == kind])
    if not yes:
        click.confirm("Remove all of this?", abort=True)
    removed = [_remove(store, named, one) for one in found if one.item]
    total = sum(size for size in removed if size is not None)
    total += _remove_loose(store, [one for one in found if not one.item])
    click.echo(f"removed {amount(total)}")
    if left := removed.count(None):
        click.echo(f"{left} trials were taken up meanwhile and left alone")


def _held(store: Store, every: list[Litter]) -> set[str]:
    """The trials and surfaces of which a worker has a lease that would be needed."""
    holders = store.leases.held()
    alive = {item for item, holder in holders.items() if not store.leases.expired(item, holder)}
    return {one.item for one in every if alive.intersection(one.leases)}


def _show(store: Store, alike: list[Litter]) -> None:
    count, size = sum(one.count for one in alike), sum(one.size for one in alike)
    trials = len({one.item for one in alike} - {""})
    of = f" of {trials} trials" if trials else ""
    click.echo(f"{alike[0].kind}: {count} files{of}, {amount(size)}")
    if alike[0].whole:
        lines = [one.item for one in alike]  # each by its id: results are lost with it
    else:
        paths = [path for one in alike for path in _paths(store, one)]
        lines = paths[:LISTED]
        if len(paths) > LISTED:
            lines.append(f"… and {len(paths) - LISTED} more")
    for line in lines:
        click.echo(f"  {one_line(line)}")


def _paths(store: Store, litter: Litter) -> Iterator[str]:
    for key in litter.files:
        yield store.locate(key)
    if isinstance(store, LocalStore):
        here = Path.cwd()
        for leftover in litter.leftovers:
            path = store.root / leftover.path
            yield str(path.relative_to(here) if path.is_relative_to(here) else path)
    if isinstance(store, S3Store):
        for entry in litter.objects:
            yield store.bucket.where(entry.name)


def _remove(store: Store, named: Named, litter: Litter) -> int | None:
    """Bytes removed of a trial or surface; None if it was taken up or changed meanwhile."""
    item = litter.item
    if litter.whole is None:

        def choose() -> list[str]:
            keys, ended = store.list(layout.checkpoints(item)), store.has(layout.trial(item))
            return parts_of(item, keys, ended=ended, earlier=True).get(litter.kind, [])

        gone = remove_some(store, item, litter.files.keys(), choose)
        return None if gone is None else sum(litter.files[key].size for key in gone)

    def still() -> bool:
        wanted = named.surfaces().get(layout.trial_of(item), ())
        return item not in wanted and item not in named.trials()

    outcome = remove(store, litter.whole, named, traces=True, still=still)
    return litter.size if outcome == "removed" else None


def _remove_loose(store: Store, found: list[Litter]) -> int:
    """Bytes removed of what belongs to no trial."""
    total, now = 0, {one.kind: one for one in requests_and_remains(store)}
    for shown in found:
        again = now.get(shown.kind, Litter(shown.kind))
        keys = [key for key in shown.files if key in again.files]
        remains = [one for one in shown.leftovers if one in again.leftovers]
        there = {(entry.name, entry.mark) for entry in again.objects}
        objects = [entry for entry in shown.objects if (entry.name, entry.mark) in there]
        for key in keys:
            store.delete(key)
        if isinstance(store, LocalStore):
            for one in remains:
                remove_abandoned(store.root, one)
        if isinstance(store, S3Store):
            store.bucket.remove(entry.name for entry in objects)
        total += sum(shown.files[key].size for key in keys)
        total += sum(one.size for one in (*remains, *objects))
    return total
