"""Find and remove what nobody needs: leftovers of workers that were cut off, and old requests.

Time passes between `find_garbage` and `collect`, which then looks again, under the leases where an
item has any, and removes only what is garbage both times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.config.record import former_members
from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.abandoned import (
    Abandoned,
    abandoned_files,
    abandoned_objects,
    remove_abandoned,
)
from orchestrator.housekeeping.lookup import NamedItems
from orchestrator.housekeeping.removal import ItemFiles, StoreListing, remove, remove_keys
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.layout import Stat
from results_schema.s3.bucket import Entry
from results_schema.s3.store import S3Store
from results_schema.store import LocalStore, Store

OLD = 86400.0
"""Seconds after which nobody is still writing a staged file or waiting for a request."""


@dataclass(frozen=True)
class Garbage:
    """Something to be removed.

    Attributes:
        kind: What it is, in a few words.
        item: The trial or surface whose lease is needed to remove it; empty if none is.
        files: Keys of files in the store.
        whole: The trial or surface, if all of it is to be removed.
        abandoned: By name and version, what has no key, such as staged files and those of leases.
    """

    kind: str
    item: str = ""
    files: Mapping[str, Stat] = field(default_factory=dict)
    whole: ItemFiles | None = None
    abandoned: Mapping[tuple[str, str], Abandoned | Entry] = field(default_factory=dict)

    @property
    def leases(self) -> tuple[str, ...]:
        """The items whose leases the removal needs."""
        if self.whole:
            return self.whole.leases
        return (self.item,) if self.item else ()

    @property
    def count(self) -> int:
        """The number of files or objects."""
        return len(self.files) + len(self.abandoned)

    @property
    def size(self) -> int:
        """The size of all of it, in bytes."""
        return sum(one.size for one in (*self.files.values(), *self.abandoned.values()))

    def paths(self, store: Store) -> Iterator[str]:
        """Yield where a person finds each file or object."""
        yield from map(store.locate, self.files)
        here = f"{Path.cwd()}/"
        for name, _ in self.abandoned:
            yield f"{store.location}/{name}".removeprefix(here)


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

    With `unnamed`, trials that no experiment names and surfaces that none wants are garbage too;
    with `checkpoints`, all checkpoints of an ended trial but its last, which were kept by name
    (`--checkpoint-at`).

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
    return Found([one for one in every if one.item not in held], len(held), named)


def collect(store: Store, found: Found) -> tuple[int, int]:
    """Remove what was found, as far as it is still garbage.

    Returns:
        The number of bytes removed, and the number of trials and surfaces that are left, as a
        worker has taken them or they have changed since.
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
            found += [Garbage(kind, trial_id, listing.files(some)) for kind, some in parts.items()]
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
        found.append(Garbage(kind_of(item), item, whole.files, whole))
    return [one for one in found if one.count]


def _find_loose(store: Store) -> list[Garbage]:
    """Return what belongs to no item: staged files, leases that nobody holds, old requests."""
    kinds: dict[str, dict[tuple[str, str], Abandoned | Entry]] = {}
    if isinstance(store, S3Store):
        objects = abandoned_objects(store.bucket, OLD)
        kinds["passed blocks"] = {(entry.name, entry.version): entry for entry in objects}
    if isinstance(store, LocalStore):
        for one in abandoned_files(store.root, OLD):
            kinds.setdefault(one.kind, {})[one.path, str(one.size)] = one
    found = [Garbage(kind, abandoned=alike) for kind, alike in kinds.items()]
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


def _remove(store: Store, named: NamedItems, garbage: Garbage) -> int | None:
    """Remove garbage of a trial or surface; return its bytes, None if it is held or has changed."""
    item = garbage.item
    if garbage.whole is None:

        def still_garbage() -> list[str]:
            keys, ended = store.list(layout.checkpoints(item)), store.has(layout.trial(item))
            return _parts(item, keys, ended=ended, earlier=True).get(garbage.kind, [])

        removed = remove_keys(store, item, garbage.files.keys(), still_garbage)
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
        files = {key: stat for key, stat in shown.files.items() if key in again.files}
        abandoned = {k: one for k, one in shown.abandoned.items() if k in again.abandoned}
        for key in files:
            store.delete(key)
        for one in abandoned.values():
            if isinstance(store, LocalStore) and isinstance(one, Abandoned):
                remove_abandoned(store.root, one)
        if isinstance(store, S3Store):
            store.bucket.remove(name for name, _ in abandoned)
        total += Garbage(shown.kind, files=files, abandoned=abandoned).size
    return total
