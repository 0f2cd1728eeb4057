"""What a store holds that nobody needs: litter of workers that were cut off, and old requests.

Nothing here deletes. What is found can be gone or in use again a moment later, so whoever removes
it asks again, under the lease if there is one: `requests_and_remains`, `parts_of`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.housekeeping import lookup
from orchestrator.housekeeping.lookup import Named
from orchestrator.housekeeping.removal import Contents, Shown
from results_schema import layout
from results_schema.errors import ConfigError, CorruptData, MissingKey
from results_schema.folder_files import Abandoned, abandoned_files
from results_schema.layout import Stat
from results_schema.lease import Holder
from results_schema.s3.bucket import Entry
from results_schema.s3.store import S3Store, abandoned_objects
from results_schema.store import LocalStore, Store

OLD = 86400.0
"""Seconds after which nobody is still writing a staged file or waiting for a request."""
_LARGEST = 10_000
"""Bytes beyond which a launch's file is not read."""


@dataclass(frozen=True)
class Litter:
    """Something to be removed.

    Attributes:
        kind: In a few words.
        item: Whose lease is needed to remove it, or empty.
        files: Keys in the store.
        whole: The trial or surface, if all of it is to be removed.
        leftovers: Files and folders without a key: staged ones, and those of leases.
        objects: The same in a bucket.
    """

    kind: str
    item: str = ""
    files: Mapping[str, Stat] = field(default_factory=dict)
    whole: Shown | None = None
    leftovers: Sequence[Abandoned] = ()
    objects: Sequence[Entry] = ()

    @property
    def leases(self) -> tuple[str, ...]:
        """The items whose leases its removal needs."""
        if self.whole:
            return self.whole.leases
        return (self.item,) if self.item else ()

    @property
    def count(self) -> int:
        """How many files or objects it is."""
        return len(self.files) + len(self.leftovers) + len(self.objects)

    @property
    def size(self) -> int:
        """Bytes of it all."""
        return sum(one.size for one in (*self.files.values(), *self.leftovers, *self.objects))


def find_litter(store: Store, named: Named, *, unnamed: bool, checkpoints: bool) -> list[Litter]:
    """Return what may be removed.

    Args:
        store: Where to look.
        named: What the store's experiments name.
        unnamed: Whether trials that no experiment names are among it, and surfaces that none wants.
        checkpoints: Whether all checkpoints of an ended trial but its last are; they were kept by
            name (`--checkpoint-at`), as an ending trial removes the others itself.

    Raises:
        CorruptData: An experiment's table can't be read, so that it is not known what it names.
        ConfigError: No experiment names anything, so that everything would go.
    """
    if unnamed and not named.trials():
        raise ConfigError(
            "no experiment names any trial, so that --unnamed would remove all of them",
            where=store.location,
            fix="delete the store itself if that is meant",
        )
    contents = Contents(store, named)
    ended = layout.names(store.list(layout.TRIALS))
    going = _trials(store, contents) - named.trials() if unnamed else set()
    found = requests_and_remains(store)
    for trial_id, keys in contents.checkpoints.items():
        if trial_id not in going:
            parts = parts_of(trial_id, keys, ended=trial_id in ended, earlier=checkpoints)
            for kind, some in parts.items():
                found.append(Litter(kind, trial_id, contents.files(some)))
    for trial_id in sorted(going):
        whole = contents.shown(trial_id, traces=True)
        found.append(Litter("trials that no experiment names", trial_id, whole.files, whole))
    for name in sorted(contents.surfaces - _wanted(named)) if unnamed else ():
        if layout.trial_of(name) not in going:
            whole = contents.shown(name, traces=True)
            found.append(Litter("surfaces that no experiment wants", name, whole.files, whole))
    return [one for one in found if one.count]


def requests_and_remains(store: Store) -> list[Litter]:
    """Return what belongs to no trial: staged files, leases that nobody holds, old requests."""
    found: list[Litter] = []
    if isinstance(store, S3Store):
        found.append(Litter("passed blocks", objects=tuple(abandoned_objects(store.bucket, OLD))))
    if isinstance(store, LocalStore):
        remains = abandoned_files(store.root, OLD)
        for kind in dict.fromkeys(one.kind for one in remains):
            found.append(Litter(kind, leftovers=[one for one in remains if one.kind == kind]))
    return [*found, *_old_requests(store)]


def parts_of(
    trial_id: str, keys: Sequence[str], *, ended: bool, earlier: bool
) -> dict[str, list[str]]:
    """Return the keys that may go of a trial that stays, by kind.

    Args:
        trial_id: The trial.
        keys: All keys below its folder of checkpoints.
        ended: Whether it has ended.
        earlier: Whether checkpoints before the last of an ended trial may go.
    """
    committed = _committed(keys)
    found = {
        "halves of checkpoints": [k for k in keys if _epoch(k) and _epoch(k) not in committed],
    }
    if ended:
        counter = [key for key in keys if key == layout.attempts(trial_id)]
        found["counters of ended trials"] = counter
    if ended and earlier:
        before = [key for key in keys if _epoch(key) in committed[:-1]]
        found["earlier checkpoints of ended trials"] = before
    return found


def _old_requests(store: Store) -> Iterator[Litter]:
    ended = layout.names(store.list(layout.TRIALS)) | layout.names(store.list(layout.SURFACES))
    requests = store.stats(layout.REQUESTS)
    launches = [key for key in requests if key.startswith(layout.launch(""))]
    dead = [key for key in launches if requests[key].age > OLD or _is_dead(store, key)]
    starts = layout.stop(""), layout.room("")
    old = [key for key, stat in requests.items() if key.startswith(starts) and stat.age > OLD]
    old += [layout.cancel(item) for item in sorted(lookup.cancelled(store) & ended)]
    for kind, keys in (
        ("requests of the past", old),
        ("files of launches that were killed", dead),
    ):
        yield Litter(kind, files={key: requests[key] for key in keys if key in requests})


def _is_dead(store: Store, key: str) -> bool:
    """Whether the launch ran on this machine, and is no more."""
    try:
        return Holder.from_json(store.get(key, most=_LARGEST), key.rsplit("-", 1)[-1]).dead
    except (MissingKey, CorruptData):
        return False


def _trials(store: Store, contents: Contents) -> set[str]:
    return lookup.trials(store) | set(contents.checkpoints)


def _wanted(named: Named) -> set[str]:
    return {surface for group in named.surfaces().values() for surface in group}


def _committed(keys: Sequence[str]) -> list[str]:
    """The folders of whole checkpoints, in the order of their epochs."""
    folders = {_epoch(key) for key in keys if key.endswith("/state.json")}
    whole = {_epoch(key) for key in keys if key.endswith("/tensors.safetensors")}
    return sorted((folders & whole) - {""}, key=lambda name: (len(name), name))


def _epoch(key: str) -> str:
    """The folder of a checkpoint's file, empty for other files."""
    folder = key.split("/")[2]
    return folder if folder.startswith("epoch-") else ""
