"""What a store holds that nobody needs: litter of workers that were cut off, and old requests.

Nothing here deletes. A kind of litter is a name with its paths; whoever removes it takes the
trial's lease first.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator import lookup
from orchestrator.removal import everything
from results_schema import layout
from results_schema.errors import ConfigError, MissingKey
from results_schema.faults import unfit
from results_schema.holder import Holder
from results_schema.s3.bucket import Entry
from results_schema.s3.rubbish import rubbish
from results_schema.s3.store import S3Store
from results_schema.store import LocalStore, Store

OLD = 86400.0
"""Seconds after which nobody is still writing a staged file or waiting for a request."""


@dataclass(frozen=True)
class Litter:
    """Something to be removed.

    Attributes:
        kind: In a few words.
        trial_id: Whose lease is needed to remove it, or empty.
        keys: Of files in the store.
        paths: Files and folders that have no key: those of the store itself and of its leases.
        objects: The same in a bucket.
    """

    kind: str
    trial_id: str = ""
    keys: tuple[str, ...] = ()
    paths: tuple[Path, ...] = ()
    objects: tuple[Entry, ...] = ()


def find_litter(store: Store, *, unnamed: bool, checkpoints: bool) -> list[Litter]:
    """What may go.

    Args:
        store: Where to look.
        unnamed: Whether trials go that no experiment names, and surfaces that none wants.
        checkpoints: Whether all checkpoints of an ended trial but its last go; they were kept by
            name (`--checkpoint-at`), as an ending trial removes the others itself.

    Raises:
        CorruptData: An experiment's table can't be read, so that it is not known what it names.
        ConfigError: No experiment names anything, so that everything would go.
    """
    found = [*_staged(store), *_old_requests(store)]
    ended = layout.names(store.list(layout.TRIALS))
    going = _unnamed(store) if unnamed else set()
    for trial_id, keys in _checkpoints(store).items():
        if trial_id in going:
            continue
        committed = _committed(keys)
        halves = [key for key in keys if _epoch(key) and _epoch(key) not in committed]
        found.append(Litter("halves of checkpoints", trial_id, tuple(halves)))
        if trial_id in ended:
            counter = [key for key in keys if key == layout.attempts(trial_id)]
            found.append(Litter("counters of ended trials", trial_id, tuple(counter)))
        if trial_id in ended and checkpoints:
            older = [key for key in keys if _epoch(key) in committed[:-1]]
            found.append(Litter("earlier checkpoints of ended trials", trial_id, tuple(older)))
    for trial_id in sorted(going):
        keys = [*everything(store, trial_id, log=True), layout.cancel(trial_id)]
        kept = tuple(key for key in keys if store.has(key))
        found.append(Litter("trials that no experiment names", trial_id, kept))
    for name in _unwanted(store) if unnamed else ():
        if layout.trial_of(name) not in going:
            keys = everything(store, name, log=True)
            found.append(Litter("surfaces that no experiment wants", name, tuple(keys)))
    return [one for one in found if one.keys or one.paths or one.objects]


def _staged(store: Store) -> Iterator[Litter]:
    """Files that were never renamed into place, and what is left of leases that were fenced."""
    if isinstance(store, S3Store):
        yield Litter("passed blocks", objects=tuple(rubbish(store.bucket, OLD)))
    if not isinstance(store, LocalStore):
        return
    leases = store.root / layout.LEASES
    staged = _entries(store.root / ".staging")
    yield Litter("staged files", paths=tuple(path for path in staged if _is_old_path(path)))
    new = [path for path in _entries(leases) if path.name.startswith(".new-")]
    yield Litter("leases never taken", paths=tuple(path for path in new if _is_old_path(path)))
    empty = [
        path
        for path in _entries(leases)
        if not path.name.startswith(".") and path.is_dir() and not _entries(path)
    ]
    yield Litter("empty folders of leases", paths=tuple(empty))


def _old_requests(store: Store) -> Iterator[Litter]:
    ended, requests = layout.names(store.list(layout.TRIALS)), store.list(layout.REQUESTS)
    launches = [key for key in requests if key.startswith(layout.launch(""))]
    dead = [key for key in launches if _is_old(store, key) or _is_dead(store, key)]
    starts = layout.stop(""), layout.room("")
    stops = [key for key in requests if key.startswith(starts)]
    cancels = [layout.cancel(trial_id) for trial_id in sorted(lookup.cancelled(store) & ended)]
    old = [key for key in stops if _is_old(store, key)]
    yield Litter("requests of the past", keys=(*old, *cancels))
    yield Litter("files of launches that were killed", keys=tuple(dead))


def _is_dead(store: Store, key: str) -> bool:
    """Whether the launch ran on this machine, and is no more."""
    try:
        return Holder.from_json(store.get(key), key.rsplit("-", 1)[-1]).dead
    except MissingKey:
        return False


def _unnamed(store: Store) -> set[str]:
    named = {t for name in lookup.experiments(store) for t in lookup.members(store, name)}
    if not named:
        raise ConfigError(
            "no experiment names any trial, so that --unnamed would remove all of them",
            where=store.location,
            fix="delete the store itself if that is meant",
        )
    return (lookup.trials(store) | set(_checkpoints(store))) - named


def _unwanted(store: Store) -> list[str]:
    wanted = {s for name in lookup.experiments(store) for s in lookup.wanted(store, name)}
    return sorted(lookup.surfaces(store) - wanted)


def _checkpoints(store: Store) -> dict[str, list[str]]:
    """The keys below each trial's folder of checkpoints."""
    found: dict[str, list[str]] = {}
    for key in store.list(layout.CHECKPOINTS):
        _, trial_id, *rest = key.split("/")
        if rest:
            found.setdefault(trial_id, []).append(key)
    return found


def _committed(keys: list[str]) -> list[str]:
    """The folders of whole checkpoints, in the order of their epochs."""
    folders = {_epoch(key) for key in keys if key.endswith("/state.json")}
    whole = {_epoch(key) for key in keys if key.endswith("/tensors.safetensors")}
    return sorted((folders & whole) - {""}, key=lambda name: (len(name), name))


def _epoch(key: str) -> str:
    """The folder of a checkpoint's file, empty for other files."""
    folder = key.split("/")[2]
    return folder if folder.startswith("epoch-") else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as error:
        raise unfit(error, folder) from error


def _is_old(store: Store, key: str) -> bool:
    stat = store.stat(key)
    return stat is not None and stat.age > OLD


def _is_old_path(path: Path) -> bool:
    """By the newest time in it: a folder's own changes when something is put into it."""
    try:
        newest = max(one.lstat().st_mtime for one in [path, *path.rglob("*")])
    except OSError:
        return False  # gone, or being written
    return time.time() - newest > OLD
