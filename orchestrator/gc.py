"""Removes what nobody needs from a store: previews, asks, and touches nothing that is held."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import click

from orchestrator import lookup
from orchestrator.litter import Litter, find_litter
from orchestrator.removal import amount, remove, size
from results_schema.s3.store import S3Store
from results_schema.store import Store


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
    every = find_litter(store, unnamed=unnamed, checkpoints=checkpoints)
    found = [one for one in every if not one.trial_id or not _held(store, one.trial_id)]
    if len(found) < len(every):
        held = {one.trial_id for one in every} - {one.trial_id for one in found}
        click.echo(f"{len(held)} trials are held and left alone")
    if not found:
        click.echo("nothing to remove")
        return
    for kind in dict.fromkeys(one.kind for one in found):
        alike = [one for one in found if one.kind == kind]
        count = sum(len(o.keys) + len(o.paths) + len(o.objects) for o in alike)
        trials = len({one.trial_id for one in alike} - {""})
        of = f" of {trials} trials" if trials else ""
        click.echo(f"{kind}: {count} files{of}, {amount(sum(_size(store, o) for o in alike))}")
        if unnamed and kind.startswith("trials"):
            for one in alike:
                click.echo(f"  {one.trial_id}")
    if not yes:
        click.confirm("Remove all of this?", abort=True)
    total = sum(_size(store, one) for one in found)
    left = [one for one in found if not _remove(store, one)]
    total -= sum(_size(store, one) for one in left)
    click.echo(f"removed {amount(total)}")
    if left:
        click.echo(f"{len(left)} trials were taken up meanwhile and left alone")


def _held(store: Store, trial_id: str) -> bool:
    leases = store.leases
    return any(not leases.expired(trial_id, holder) for holder in leases.holders(trial_id))


def _size(store: Store, litter: Litter) -> int:
    total = size(store, litter.keys) + sum(entry.size for entry in litter.objects)
    for path in litter.paths:
        with contextlib.suppress(OSError):
            total += sum(one.lstat().st_size for one in [path, *path.rglob("*")] if _is_file(one))
    return total


def _remove(store: Store, litter: Litter) -> bool:
    if litter.trial_id:
        return remove(store, litter.trial_id, litter.keys)
    for key in litter.keys:
        store.delete(key)
    if isinstance(store, S3Store):
        store.bucket.remove(entry.name for entry in litter.objects)
    for path in litter.paths:
        # What is not to be removed just now is found again the next time.
        with contextlib.suppress(OSError):
            if _is_file(path):
                path.unlink()
            elif path.name.startswith(".new-"):
                shutil.rmtree(path)
            else:
                path.rmdir()
    return True


def _is_file(path: Path) -> bool:
    """Links are removed and never followed."""
    return path.is_symlink() or not path.is_dir()
