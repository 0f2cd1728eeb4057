"""Find and remove what nobody needs: leftovers of workers that were cut off, and old requests.

Time passes between `find_garbage` and `collect`, which then looks again, under the leases where an
item has any, and removes only what is garbage both times.
"""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path

from orchestrator.config.record import former_members
from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.lookup import NamedItems
from orchestrator.housekeeping.removal import ItemFiles, StoreListing, remove, remove_keys
from results_schema import layout
from results_schema.errors import ConfigError, LinkRefused, store_error
from results_schema.folder.files import GONE, NEW_LEASE, STAGING, Folder, opened
from results_schema.layout import Stat
from results_schema.s3.bucket import Bucket, Entry
from results_schema.s3.leases import newest_blocks
from results_schema.s3.store import BLOCKS, S3Store
from results_schema.store import LocalStore, Store

OLD = 86400.0
"""Seconds after which nobody is still writing a staged file or waiting for a request."""

STAGED, NEVER_TAKEN = "staged files", "leases never taken"
EMPTY, LINKS = "empty folders of leases", "links among the leases"
_NOTHING = Stat(0, "", 0.0)


@dataclass(frozen=True)
class Garbage:
    """Something to be removed.

    Attributes:
        kind: What it is, in a few words.
        item: The item whose lease is needed to remove it; empty if none is.
        files: Keys of files in the store.
        loose: What has no key, such as staged files, by its path or name below the store's.
        whole: The trial or surface, if all of it is to be removed.
        choose: Returns, under the lease, which keys may still be removed.
    """

    kind: str
    item: str = ""
    files: Mapping[str, Stat] = field(default_factory=dict)
    loose: Mapping[str, Stat] = field(default_factory=dict)
    whole: ItemFiles | None = None
    choose: Callable[[], Collection[str]] = tuple

    @property
    def leases(self) -> tuple[str, ...]:
        """The items whose leases the removal needs."""
        if self.whole:
            return self.whole.leases
        return (self.item,) if self.item else ()

    @property
    def count(self) -> int:
        """The number of files or objects."""
        return len(self.files) + len(self.loose)

    @property
    def size(self) -> int:
        """The size of all of it, in bytes."""
        return sum(one.size for one in (*self.files.values(), *self.loose.values()))

    def paths(self, store: Store) -> Iterator[str]:
        """Yield where a person finds each file or object."""
        yield from map(store.locate, self.files)
        here = f"{Path.cwd()}/"
        for path in self.loose:
            yield f"{store.location}/{path}".removeprefix(here)


@dataclass(frozen=True)
class Found:
    """What may be removed.

    Attributes:
        garbage: What `collect` removes.
        held: Number of trials and surfaces that are left out, as a worker has a lease of theirs.
        named: What the store's experiments name.
    """

    garbage: list[Garbage]
    held: int
    named: NamedItems

    def by_kind(self) -> dict[str, list[Garbage]]:
        """Return the garbage of each kind."""
        found: dict[str, list[Garbage]] = {}
        for one in self.garbage:
            found.setdefault(one.kind, []).append(one)
        return found


def find_garbage(store: Store, *, unnamed: bool, checkpoints: bool) -> Found:
    """Return what may be removed; nothing is changed.

    With `unnamed`, trials and users' own data sets that no experiment names and surfaces that none
    wants are garbage too; with `checkpoints`, all checkpoints of an ended trial but its last, which
    were kept by name (`--checkpoint-at`).

    Raises:
        CorruptData: An experiment's table can't be read, so that it is unknown what it names.
        ConfigError: No experiment names anything, so that everything would be removed.
    """
    named = NamedItems(store)
    if unnamed and not named.trials():
        raise ConfigError(
            "no experiment names any trial, so that --unnamed would remove all of them",
            where=store.location,
            fix="delete the store itself if that is meant",
        )
    every = _find(store, named, unnamed=unnamed, checkpoints=checkpoints)
    holders = store.leases.held()
    alive = {item for item, holder in holders.items() if not store.leases.expired(item, holder)}
    held = {one.item for one in every if alive.intersection(one.leases)}
    garbage = [one for one in every if one.item not in held]
    if unnamed:
        left = _every_trial(store) - {one.item for one in garbage if one.whole}
        garbage += [one for one in _unused_datasets(store, left) if one.item not in alive]
    return Found(garbage, len(held), named)


def collect(store: Store, found: Found) -> tuple[int, int]:
    """Remove what was found, as far as it is still garbage.

    Returns:
        The number of bytes removed, and the number of items that are left, as a worker has taken
        them or they have changed since.
    """
    removed = [_remove(store, found.named, one) for one in found.garbage if one.item]
    total = sum(size for size in removed if size is not None)
    total += _remove_loose(store, [one for one in found.garbage if not one.item])
    return total, removed.count(None)


def _find(store: Store, named: NamedItems, *, unnamed: bool, checkpoints: bool) -> list[Garbage]:
    listing = StoreListing(store, named)
    ended = layout.names(store.list(layout.TRIALS))
    trials, surfaces = set[str](), set[str]()
    if unnamed:
        trials = (lookup.trials(store) | set(listing.checkpoints)) - named.trials()
        surfaces = listing.surfaces.difference(*named.surfaces().values())
    found = _find_loose(store)
    for trial_id, keys in listing.checkpoints.items():
        if trial_id not in trials:
            parts = _parts(trial_id, keys, ended=trial_id in ended, earlier=checkpoints)
            for kind, some in parts.items():
                choose = partial(_still_parts, store, trial_id, kind)
                found.append(Garbage(kind, trial_id, listing.files(some), choose=choose))
    lone = [surface for surface in sorted(surfaces) if layout.trial_of(surface) not in trials]
    former = former_members(store) if trials else {}

    def kind_of(item: str) -> str:
        if layout.is_surface(item):
            return "surfaces that no experiment wants"
        if item in former:
            return f"trials that an earlier {former[item]} named"
        return "trials that no experiment names"

    for item in sorted([*trials, *lone], key=lambda item: (kind_of(item), item)):
        whole = listing.item(item, traces=True)
        found.append(Garbage(kind_of(item), item, whole.files, whole=whole))
    return [one for one in found if one.count]


def _every_trial(store: Store) -> set[str]:
    """Return every trial of which the store has anything, or which an experiment names."""
    return lookup.trials(store) | {key.split("/")[1] for key in store.list(layout.CHECKPOINTS)}


def _unused_datasets(store: Store, trials: Iterable[str]) -> list[Garbage]:
    """Return the users' own data sets that no experiment and none of some trials names."""
    found, stats = [], store.stats(layout.DATASETS)
    names = sorted(layout.names([*stats]) - set(map(layout.dataset_of, trials)))
    declared = "\n".join(lookup.declarations(store)) if names else ""
    for name in names:
        # The description first, so that what is described always has arrays.
        keys = layout.dataset(name), layout.dataset_arrays(name)
        files = {key: stats[key] for key in keys if key in stats}
        # A declaration may leave the hash out, such as where it names the statistics of another.
        named = any(f'"{one}"' in declared for one in (name, name.rpartition("-")[0]))
        if files and layout.is_id(name) and not named:
            choose = partial(_still_unused, store, name, files)
            lease = layout.dataset_lease(name)
            found.append(Garbage("data sets that no experiment names", lease, files, choose=choose))
    return found


def _still_unused(store: Store, name: str, shown: Mapping[str, Stat]) -> Collection[str]:
    """Return the keys of a data set, none if it is used or is not as it was shown."""
    versions = {key: one.version for key, one in shown.items()}
    for one in _unused_datasets(store, _every_trial(store)):
        if one.item == layout.dataset_lease(name):
            now = {key: stat.version for key, stat in one.files.items()}
            return shown.keys() if now == versions else ()
    return ()


def _find_loose(store: Store) -> list[Garbage]:
    """Return what belongs to no item: staged files, leases that nobody holds, old requests."""
    kinds: dict[str, dict[str, Stat]] = {}
    if isinstance(store, S3Store):
        kinds["passed blocks"] = {one.name: one for one in abandoned_objects(store.bucket, OLD)}
    elif isinstance(store, LocalStore):
        kinds = abandoned_files(store.root, OLD)
    found = [Garbage(kind, loose=alike) for kind, alike in kinds.items()]
    return [*found, *_old_requests(store)]


def _old_requests(store: Store) -> Iterator[Garbage]:
    ended = layout.names(store.list(layout.TRIALS)) | layout.names(store.list(layout.SURFACES))
    requests = store.stats(layout.REQUESTS)
    launches = [key for key in requests if key.startswith(layout.launch(""))]
    alive = lookup.launches(store)
    killed = [key for key in launches if requests[key].age > OLD or key not in alive]
    starts = layout.stop(""), layout.probe("")
    old = [key for key, stat in requests.items() if key.startswith(starts) and stat.age > OLD]
    old += [layout.cancel(item) for item in sorted(lookup.cancelled(store) & ended)]
    kinds = {"requests of the past": old, "files of launches that were killed": killed}
    for kind, keys in kinds.items():
        yield Garbage(kind, files={key: requests[key] for key in keys if key in requests})


def _parts(
    trial_id: str, keys: Sequence[str], *, ended: bool, earlier: bool
) -> dict[str, list[str]]:
    """Return the keys that may be removed of a trial that stays, by kind.

    `keys` are all below its folder of checkpoints; with `earlier`, those of an ended trial's
    checkpoints before the last may be removed too.
    """
    folders: dict[str, list[str]] = {}
    for key in keys:
        name = key.split("/")[2]
        if name.startswith("epoch-"):
            folders.setdefault(name, []).append(key)

    def is_whole(name: str) -> bool:
        files = {key.rsplit("/", 1)[-1] for key in folders[name]}
        return {"state.json", "tensors.safetensors"} <= files

    whole = sorted(filter(is_whole, folders), key=lambda name: (len(name), name))
    found = {
        "halves of checkpoints": [k for name in folders if name not in whole for k in folders[name]]
    }
    if ended:
        counter = layout.attempts(trial_id)
        found["counters of ended trials"] = [counter] if counter in keys else []
    if ended and earlier:
        found["earlier checkpoints of ended trials"] = [k for n in whole[:-1] for k in folders[n]]
    return found


def _still_parts(store: Store, trial_id: str, kind: str) -> list[str]:
    keys, ended = store.list(layout.checkpoints(trial_id)), store.has(layout.trial(trial_id))
    return _parts(trial_id, keys, ended=ended, earlier=True).get(kind, [])


def _remove(store: Store, named: NamedItems, garbage: Garbage) -> int | None:
    """Remove garbage of an item; return its bytes, None if it is held or has changed."""
    item = garbage.item
    if garbage.whole is None:
        removed = remove_keys(store, item, garbage.files.keys(), garbage.choose)
        return None if removed is None else sum(garbage.files[key].size for key in removed)

    def still_unnamed() -> bool:
        wanted = named.surfaces().get(layout.trial_of(item), ())
        return item not in wanted and item not in named.trials()

    outcome = remove(store, garbage.whole, named, still=still_unnamed)
    return garbage.size if outcome == "removed" else None


def _remove_loose(store: Store, found: list[Garbage]) -> int:
    """Remove garbage that belongs to no item; return its bytes."""
    total, now = 0, {one.kind: one for one in _find_loose(store)}
    for shown in found:
        again = now.get(shown.kind, Garbage(shown.kind))
        files = {key: one for key, one in shown.files.items() if key in again.files}
        loose = {
            path: one
            for path, one in shown.loose.items()
            if path in again.loose and one.version == again.loose[path].version
        }
        for key in files:
            store.delete(key)
        if isinstance(store, S3Store):
            store.bucket.remove(loose)
        elif isinstance(store, LocalStore):
            for path in loose:
                _remove_abandoned(store.root, path, shown.kind)
        total += Garbage(shown.kind, files=files, loose=loose).size
    return total


# What has no key


def abandoned_files(root: Path, old: float) -> dict[str, dict[str, Stat]]:
    """Return what may be removed from a store's folder beside the files that have keys.

    Args:
        root: The store's folder.
        old: Seconds after which nobody is still writing a staged file or taking a lease.

    Returns:
        Files, links and folders that a process left when it was cut off, by kind and by path.

    Raises:
        StoreError: It can't be read, or a link is in the place of one of the two folders.
    """
    found: dict[str, dict[str, Stat]] = {kind: {} for kind in (STAGED, NEVER_TAKEN, EMPTY, LINKS)}
    for folder, start, kind in (
        (STAGING, "", STAGED),
        (layout.LEASES.rstrip("/"), NEW_LEASE, NEVER_TAKEN),
    ):
        try:
            with opened(root, folder) as at:
                for name in sorted(at.links()):
                    path = f"{folder}/{name}"
                    if name.startswith(start):
                        measured = _measure(at, name)
                        found[kind] |= {path: measured} if measured.age > old else {}
                    elif layout.is_name(name):
                        _add_remains(found, at, name, path)
        except OSError as error:
            if error.errno not in GONE:
                raise store_error(error, root / folder) from error
    return found


def _add_remains(found: dict[str, dict[str, Stat]], at: Folder, item: str, path: str) -> None:
    """Add an item's folder of leases if it is empty or a link, and links in it."""
    try:
        with at.entered(item) as inner:
            links = inner.links()
    except LinkRefused:
        found[LINKS][path] = _NOTHING
    except OSError as error:
        if error.errno not in GONE:  # else given back meanwhile, or a file
            raise store_error(error, at.path / item) from error
    else:
        tokens = [token for token, is_link in links.items() if is_link]
        found[LINKS] |= {f"{path}/{token}": _NOTHING for token in tokens}
        found[EMPTY] |= {} if links else {path: _NOTHING}


def _measure(at: Folder, name: str) -> Stat:
    """Return an entry's bytes, and seconds since anything in it changed; 0 if it changes now."""
    try:
        found = [at.status(name)]
        if stat.S_ISDIR(found[0].st_mode):
            # The time of a folder itself changes only when an entry comes or goes.
            for _, folders, files, handle in os.fwalk(name, onerror=_raise, dir_fd=at.handle):
                inner = Folder(handle, at.path)
                found += [inner.status(one) for one in (*folders, *files)]
    except OSError:
        return _NOTHING
    size = sum(one.st_size for one in found if not stat.S_ISDIR(one.st_mode))
    return Stat(size, str(size), time.time() - max(one.st_mtime for one in found))


def _raise(error: OSError) -> None:
    raise error


def _remove_abandoned(root: Path, path: str, kind: str) -> None:
    """Remove what was just found; what can't be removed is found again later."""
    folder, _, name = path.rpartition("/")
    with contextlib.suppress(OSError, LinkRefused), opened(root, folder) as at:
        if kind == EMPTY:
            os.rmdir(name, dir_fd=at.handle)  # fails if the lease has been taken
        elif kind != LINKS or at.links().get(name):
            at.remove(name)


def abandoned_objects(bucket: Bucket, old: float) -> Iterator[Entry]:
    """Yield what writers left that were cut off, and the empty blocks of what was deleted.

    Args:
        bucket: The store's objects.
        old: Seconds after which nobody is still in the middle of creating an object.
    """
    for start in (BLOCKS, layout.LEASES):
        for _, group in groupby(
            bucket.list(start), key=lambda entry: entry.name.rpartition("/")[0]
        ):
            entries = list(group)
            newest = next(iter(newest_blocks(entries).values()), None)
            # While the newest block is young, a frozen writer may still create a number after it.
            if newest and newest.age >= old:
                kept = newest.size > 0
                yield from (e for e in entries if not (kept and e.name.startswith(newest.name)))
