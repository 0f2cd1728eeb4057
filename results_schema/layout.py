"""What every store does, and its keys: what a key is, and where everything is kept.

A key is a relative path with forward slashes. Items (trials and surfaces) are named by their ids.
`Store` checks keys before a store in a folder (`results_schema.folder`) or a bucket
(`results_schema.s3`) sees them. A put is atomic, and one under a lease is done only while the lease
holds.
"""

from __future__ import annotations

import contextlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from results_schema.errors import MissingKey, StoreError

if TYPE_CHECKING:
    from results_schema.lease import Lease, Leases

METRICS = "metrics/"
TRIALS = "trials/"
MEMBERS = "members/"
SURFACES = "surfaces/"
POINTS = "points/"
WANTED = "wanted/"
CELLS = "cells/"
EXPERIMENTS = "experiments/"
FAILURES = "failures/"
LEASES = "leases/"
LOGS = "logs/"
FIGURES = "figures/"
PLOTLY = "figures/plotly.min.js"
"""The script that all pages of figures share."""
TABLES = "tables/"
REPORTS = "reports/"
ERRORS = "errors/"
REQUESTS = "requests/"
CHECKPOINTS = "checkpoints/"
DATASETS = "datasets/"
DECISIONS = "decisions/"
SOURCES = "sources/"

SCHEMA_LEASE = "schema"
"""The lease under which the tables get columns; its name, and those below, can't be an id."""

LEASED = (METRICS, TRIALS, SURFACES, POINTS, CHECKPOINTS, FAILURES, LOGS)
"""Folders of what workers write under the leases of items."""

FILES = (".parquet", ".json", ".log", ".safetensors")
"""Endings of the names of files that workers and launches write; no folder's name has one."""

IMPORTED = "imported-"
"""How the ids of imported trials begin, which no spec has."""

NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}"
"""What a key has between its slashes: safe on every file system and never hidden."""

_NAME = re.compile(NAME)
_KEY = re.compile(f"{NAME}(/{NAME})*")
_ID = re.compile(r"-[0-9a-f]{10}$")
"""How the ids of trials and surfaces end: with the digest of their content."""


@dataclass(frozen=True)
class Stat:
    """What a store reports of a key without reading it.

    Attributes:
        size: Bytes.
        version: Changes with each put.
        age: Seconds since the last put, by the store's clock.
    """

    size: int
    version: str
    age: float


def is_name(name: str) -> bool:
    """Return whether something may stand between two slashes of a key."""
    return _NAME.fullmatch(name) is not None


def is_key(key: str) -> bool:
    """Return whether something is a relative path that can't lead out of a store."""
    return _KEY.fullmatch(key) is not None


def checked_item(item: str) -> str:
    """Return an item's id, or raise `StoreError` if it is not a name."""
    if not is_name(item):
        raise StoreError(f"{item!r} is no item", fix="name it by its id")
    return item


def checked_key(key: str) -> str:
    """Return a key, or raise `StoreError` if it is not valid."""
    if is_key(key):
        return key
    fix = "use names of letters, digits and ._@+- between slashes"
    raise StoreError(f"{key!r} is no key", fix=fix)


def folder_key(prefix: str) -> str:
    """Return the key of a folder, or raise `StoreError` if it does not end in a slash."""
    if not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise StoreError(f"{prefix!r} is no folder's key", fix="name one, such as trials/")
    return prefix


class Store(ABC):
    """Put, get, list and delete behind everything that is kept. Threads may share a store.

    Attributes:
        location: Opens the store again, here or on another machine: a folder or a URL.
        leases: The leases on the store's items.
    """

    location: str
    leases: Leases[Any]

    @property
    def hasty(self) -> Store:
        """The same store for requests that are repeated soon: given up early where it can be."""
        return self

    def put(
        self,
        key: str,
        data: bytes,
        *,
        lease: Lease | None = None,
        durable: bool = False,
        final: bool = False,
    ) -> None:
        """Replace what is stored under the key, atomically.

        Args:
            key: The key.
            data: The bytes.
            lease: If given, write only while this lease holds.
            durable: Whether the bytes must survive a power cut from here on.
            final: Whether they are the item's last under this key; a store that hides live bytes
                from other programs shows them these.

        Raises:
            Superseded: The lease has been taken over; nothing was written.
            StoreError: It could not be written; what was there before still is.
        """
        self._put(checked_key(key), data, lease, durable, final)

    def get(self, key: str, *, most: int | None = None) -> bytes:
        """Return the bytes under the key.

        Args:
            key: The key.
            most: How many there may be; if there are more, none is read, lest they fill the memory.

        Raises:
            MissingKey: Nothing is stored under it.
            CorruptData: There are more bytes than `most`.
            StoreError: They could not be read.
        """
        return self._get(checked_key(key), most)

    def several(self, keys: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Yield each key with its bytes, in order, as fast as the store can; omit missing ones."""
        # One after the other: threads that check bytes would keep each other waiting for longer.
        for key in keys:
            with contextlib.suppress(MissingKey):
                yield key, self.get(key)

    def has(self, key: str) -> bool:
        """Return whether anything is stored under the key."""
        return self.stat(key) is not None

    def list(self, prefix: str) -> list[str]:
        """Return all keys below a folder's key, which ends in a slash, sorted.

        Files of other programs whose names are not keys, such as `.DS_Store`, are omitted.
        """
        return sorted(self._names(folder_key(prefix)))

    def stats(self, prefix: str) -> dict[str, Stat]:
        """Return the keys that `list` returns, each with its size, version and age."""
        return dict(sorted(self._stats(folder_key(prefix))))

    def stat(self, key: str) -> Stat | None:
        """Return size, version and age of one key; None if nothing is stored under it."""
        return self._stat(checked_key(key))

    def delete(self, key: str, *, lease: Lease | None = None) -> None:
        """Remove what is stored under the key, if anything is.

        Args:
            key: The key.
            lease: If given, remove only while this lease holds.

        Raises:
            Superseded: The lease has been taken over; nothing was removed.
            StoreError: It could not be removed.
        """
        self._delete(checked_key(key), lease)

    def locate(self, key: str) -> str:
        """Return where a person finds what is stored under the key."""
        return self._locate(checked_key(key))

    @abstractmethod
    def _put(
        self, key: str, data: bytes, lease: Lease | None, durable: bool, final: bool
    ) -> None: ...

    @abstractmethod
    def _get(self, key: str, most: int | None) -> bytes: ...

    def _names(self, prefix: str) -> Iterable[str]:
        return (key for key, _ in self._stats(prefix))

    @abstractmethod
    def _stats(self, prefix: str) -> Iterable[tuple[str, Stat]]: ...

    @abstractmethod
    def _stat(self, key: str) -> Stat | None: ...

    @abstractmethod
    def _delete(self, key: str, lease: Lease | None) -> None: ...

    @abstractmethod
    def _locate(self, key: str) -> str: ...


def _file(folder: str, suffix: str = "") -> Callable[[str], str]:
    """Return the function that names a file of the folder after an item, experiment or launch."""

    def key(name: str) -> str:
        return f"{folder}{name}{suffix}"

    return key


metrics = _file(METRICS, ".parquet")
"""One row per epoch of a trial."""
trial = _file(TRIALS, ".parquet")
"""One row; exists only when the trial has ended."""
surface = _file(SURFACES, ".parquet")
"""One row; exists only when the surface is finished."""
points = _file(POINTS, ".parquet")
"""One row per measured point of a surface: its ledger."""
members = _file(MEMBERS, ".parquet")
"""Which trials an experiment shows, under which names."""
wanted = _file(WANTED, ".parquet")
"""Which surfaces an experiment wants."""
cells = _file(CELLS, ".parquet")
"""The cells that an experiment names, trained or not."""
experiment = _file(EXPERIMENTS, ".json")
"""The content of an experiment's file when it was last launched."""
dataset = _file(DATASETS, ".json")
"""Description of a user's own data set; its presence shows that the arrays are there."""
dataset_arrays = _file(DATASETS, ".safetensors")
"""Its decoded arrays."""
failure = _file(FAILURES, ".json")
"""Why the last attempt at a trial or surface failed."""
log = _file(LOGS, ".log")
"""The log of the workers of a trial or surface."""
error_log = _file(ERRORS, ".log")
"""The traceback of a figure, table or claim that could not be made."""
launch = _file(REQUESTS + "launch-")
"""Exists while a launch runs: a worker that does not find it sees another folder."""
stop = _file(REQUESTS + "stop-")
"""Exists while a launch asks its workers to stop."""
cancel = _file(REQUESTS + "cancel-")
"""Exists while a trial is not to be trained: its worker stops."""
probe = _file(REQUESTS + "room-")
"""Exists for a moment while a launch tests whether a store that was full can be written."""


def schema(table: str) -> str:
    """A file without rows that sorts first, so that readers of the folder take its columns."""
    return f"{table}0-schema.parquet"


def decision(cohort: str, epoch: int) -> str:
    """Which trials of a cohort, named by its digest, go on after an epoch, as JSON."""
    return f"{DECISIONS}{cohort}-e{epoch:05d}.json"


def source(program: str, version: int, digest: str = "") -> str:
    """Exists if a program's trials of a version were run from the source of a digest.

    Without a digest it is how the keys of all sources of the version begin.
    """
    name = re.sub(r"[^A-Za-z0-9]+", ".", program).strip(".")
    return f"{SOURCES}{name}-v{version}-{digest}" + ".json" * bool(digest)


def decision_lease(cohort: str) -> str:
    """The lease under which decisions on a cohort are made."""
    return f"{cohort}.decision"


def dataset_lease(name: str) -> str:
    """The lease under which a user's own data set is written or removed."""
    return f"{name}.dataset"


def experiment_lease(name: str) -> str:
    """The lease under which an experiment's tables and declaration are written."""
    return f"{name}.experiment"


def cohort_of(key: str) -> str:
    """Return the digest of the cohort of a decision's key."""
    return key.removeprefix(DECISIONS).partition("-")[0]


def checkpoints(trial_id: str) -> str:
    """The folder of a trial's checkpoints."""
    return f"{CHECKPOINTS}{trial_id}/"


def tensors(trial_id: str, epoch: int) -> str:
    """Weights, buffers and, before the last epoch, momenta after an epoch, as safetensors."""
    return f"{checkpoints(trial_id)}epoch-{epoch:05d}/tensors.safetensors"


def state(trial_id: str, epoch: int) -> str:
    """The checkpoint's rows and hashes, as JSON; its presence is the commit."""
    return f"{checkpoints(trial_id)}epoch-{epoch:05d}/state.json"


def attempts(trial_id: str) -> str:
    """How many workers have trained the trial, since when and to which epoch, as JSON."""
    return f"{checkpoints(trial_id)}attempts.json"


def vectors(surface_id: str) -> str:
    """What a curvature that is being measured resumes from besides its rows."""
    return f"{checkpoints(trial_of(surface_id))}{surface_id}.vectors"


def figure(experiment: str, name: str, suffix: str) -> str:
    """A picture of an experiment; `suffix` is html, png, svg or pdf."""
    return f"{FIGURES}{_exhibit(experiment, name)}.{suffix}"


def table(experiment: str, name: str, suffix: str) -> str:
    """A table of an experiment; `suffix` is md, csv or tex."""
    return f"{TABLES}{_exhibit(experiment, name)}.{suffix}"


def _exhibit(experiment: str, name: str) -> str:
    """Return a name that no other experiment's figure or table has: `fig9-enas@laptop`."""
    own, at, variation = experiment.partition("@")
    return (name if f"{name}-".startswith(f"{own}-") else f"{own}-{name}") + at + variation


def report(name: str, file: str) -> str:
    """A file of a report's folder."""
    return f"{REPORTS}{name}/{file}"


def variations(name: str, experiments: Iterable[str]) -> list[str]:
    """Return the experiments that a name stands for: its own, or all that begin with it and `@`.

    An experiment is named after its file, then after its profile and `--name` if it has them, such
    as `fig9@laptop@adam`.
    """
    known = list(experiments)
    return [name] if name in known else [one for one in known if one.startswith(f"{name}@")]


def is_id(item: str) -> bool:
    """Return whether a leased item may be a trial or a surface, by its name."""
    return _ID.search(item) is not None


def is_surface(item: str) -> bool:
    """Return whether an item's id is a surface's, which has its trial's id before an `@`."""
    return "@" in item


def trial_of(item: str) -> str:
    """Return the id of the trial, given its own or a surface's."""
    return item.partition("@")[0]


def dataset_of(trial_id: str) -> str:
    """Return the name of the data set of a cell's trial, with which its id begins."""
    return trial_id.partition("-w")[0]


def epoch_of(surface_id: str) -> int:
    """Return the epoch of a surface's checkpoint; 0 is that of the untrained network."""
    found = re.match(r"e(\d+)-", surface_id.partition("@")[2])
    return int(found[1]) if found else 0


def names(keys: list[str]) -> set[str]:
    """Return the ids in keys such as `trials/<id>.parquet`, without the schema's file."""
    ids = {key.rsplit("/", 1)[-1].rsplit(".", 1)[0] for key in keys}
    return ids - {"0-schema"}


def owner(key: str) -> str | None:
    """Return the item whose rows alone a table's file may hold; None if its name is not an item's.

    A file of trials or surfaces that is not named like an id may be another program's, with the
    rows of many.
    """
    folder, slash, name = key.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix != "parquet" or stem == "0-schema":
        return None
    return stem if folder + slash in (MEMBERS, CELLS, WANTED) or _ID.search(stem) else None


def natural(name: str) -> list[tuple[str, int]]:
    """Return a sort key that orders names by the numbers in them: fig2 before fig10."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(number or 0)) for text, number in parts]
