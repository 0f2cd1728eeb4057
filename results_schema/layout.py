"""Where everything lies in a store: every key in one place.

A key is a relative path with forward slashes. Items (trials, surfaces) are named by their ids.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from results_schema.errors import StoreError

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
TABLES = "tables/"
REPORTS = "reports/"
ERRORS = "errors/"
REQUESTS = "requests/"
CHECKPOINTS = "checkpoints/"

NAME = r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,254}"
"""What a key has between its slashes: safe on every file system and never hidden."""


LEASED = (METRICS, TRIALS, SURFACES, POINTS, CHECKPOINTS, FAILURES, LOGS)
"""Folders of what workers write under the leases of items."""

_ID = re.compile(r"-[0-9a-f]{10}$")
"""How the ids of trials and surfaces end: with the digest of their content."""

FILES = (".parquet", ".json", ".log", ".safetensors")
"""Endings of the names of files that workers and launches write; no folder's name has one."""


def schema(table: str) -> str:
    """A file without rows that sorts first, so that readers of the folder take its columns."""
    return f"{table}0-schema.parquet"


def metrics(trial_id: str) -> str:
    """One row per epoch."""
    return f"{METRICS}{trial_id}.parquet"


def trial(trial_id: str) -> str:
    """One row; exists only when the trial has ended."""
    return f"{TRIALS}{trial_id}.parquet"


def members(experiment: str) -> str:
    """Which trials an experiment shows, under which names."""
    return f"{MEMBERS}{experiment}.parquet"


def wanted(experiment: str) -> str:
    """Which surfaces an experiment wants."""
    return f"{WANTED}{experiment}.parquet"


def cells(experiment: str) -> str:
    """The cells that an experiment names, trained or not."""
    return f"{CELLS}{experiment}.parquet"


def experiment(name: str) -> str:
    """What an experiment's file said when it was last launched, as JSON."""
    return f"{EXPERIMENTS}{name}.json"


def surface(surface_id: str) -> str:
    """One row; exists only when the surface is finished."""
    return f"{SURFACES}{surface_id}.parquet"


def points(surface_id: str) -> str:
    """One row per measured point: the surface's ledger."""
    return f"{POINTS}{surface_id}.parquet"


def vectors(surface_id: str) -> str:
    """What a curvature that is being measured resumes from besides its rows."""
    return f"{checkpoints(trial_of(surface_id))}{surface_id}.vectors"


def is_surface(item: str) -> bool:
    """Whether an item's id is a surface's, which has its trial's id before an `@`."""
    return "@" in item


def trial_of(item: str) -> str:
    """The id of the trial, given its own or a surface's."""
    return item.partition("@")[0]


def epoch_of(surface_id: str) -> int:
    """The epoch of a surface's checkpoint; 0 is that of the untrained network."""
    found = re.match(r"e(\d+)-", surface_id.partition("@")[2])
    return int(found[1]) if found else 0


def failure(item: str) -> str:
    """Why the last attempt at a trial or surface failed, as JSON."""
    return f"{FAILURES}{item}.json"


def log(item: str) -> str:
    """What the workers of a trial or surface said."""
    return f"{LOGS}{item}.log"


def checkpoints(trial_id: str) -> str:
    """The folder of a trial's checkpoints."""
    return f"{CHECKPOINTS}{trial_id}/"


def launch(launch: str) -> str:
    """Exists while a launch runs: a worker that does not find it sees another folder."""
    return f"requests/launch-{launch}"


def stop(launch: str) -> str:
    """Exists while a launch asks its workers to leave off."""
    return f"{REQUESTS}stop-{launch}"


def cancel(trial_id: str) -> str:
    """Exists while a trial is not to be trained: its worker leaves off."""
    return f"{REQUESTS}cancel-{trial_id}"


def room(token: str) -> str:
    """Exists for a moment while a launch tries whether a store that was full has room again."""
    return f"{REQUESTS}room-{token}"


def attempts(trial_id: str) -> str:
    """How many workers have trained the trial, since when and to which epoch, as JSON."""
    return f"{checkpoints(trial_id)}attempts.json"


def tensors(trial_id: str, epoch: int) -> str:
    """Weights, buffers and, before the last epoch, momenta after an epoch, as safetensors."""
    return f"{checkpoints(trial_id)}epoch-{epoch:05d}/tensors.safetensors"


def state(trial_id: str, epoch: int) -> str:
    """The checkpoint's rows and hashes, as JSON; its presence is the commit."""
    return f"{checkpoints(trial_id)}epoch-{epoch:05d}/state.json"


def figure(experiment: str, suffix: str) -> str:
    """A picture of an experiment, `suffix` being html, png, svg or pdf."""
    return f"{FIGURES}{experiment}.{suffix}"


def table(name: str, suffix: str) -> str:
    """A table of an experiment, `suffix` being md, csv or tex."""
    return f"{TABLES}{name}.{suffix}"


def report(name: str, file: str) -> str:
    """A file of a report's folder."""
    return f"{REPORTS}{name}/{file}"


def error_log(name: str) -> str:
    """Return the key of the traceback of a figure, table or claim that could not be made."""
    return f"{ERRORS}{name}.log"


def names(keys: list[str]) -> set[str]:
    """The ids behind keys such as `trials/<id>.parquet`, the schema file left out."""
    ids = {key.rsplit("/", 1)[-1].rsplit(".", 1)[0] for key in keys}
    return ids - {"0-schema"}


def owner(key: str) -> str | None:
    """Return the item whose rows alone a table's file may hold, or None if its name says none.

    A file of trials or surfaces that is not named like an id may be another program's, with the
    rows of many.
    """
    folder, slash, name = key.rpartition("/")
    stem, dot, suffix = name.rpartition(".")
    if not dot or suffix != "parquet" or stem == "0-schema":
        return None
    return stem if folder + slash in (MEMBERS, CELLS, WANTED) or _ID.search(stem) else None


def natural(name: str) -> list[tuple[str, int]]:
    """A key that sorts names by the numbers in them: fig2 before fig10."""
    parts = re.findall(r"(\D*)(\d*)", name)
    return [(text, int(number or 0)) for text, number in parts]


_ITEM = re.compile(NAME)
_KEY = re.compile(f"{NAME}(/{NAME})*")


def is_key(key: str) -> bool:
    """Whether it is a relative path that can't lead out of a store."""
    return _KEY.fullmatch(key) is not None


def checked_key(key: str) -> str:
    """The key.

    Raises:
        StoreError: It is none.
    """
    if not is_key(key):
        raise StoreError(
            f"{key!r} is no key", fix="use names of letters, digits and ._@+- between slashes"
        )
    return key


def folder_key(prefix: str) -> str:
    """The key of a folder, which ends in a slash.

    Raises:
        StoreError: It is none.
    """
    if not (prefix.endswith("/") and is_key(prefix[:-1])):
        raise StoreError(f"{prefix!r} is no folder's key", fix="name one, such as trials/")
    return prefix


@dataclass(frozen=True)
class Stat:
    """One key's bytes, seen from outside.

    Attributes:
        size: Of the bytes.
        mark: Another one after each put.
        age: Seconds since they were put, by the store's clock.
    """

    size: int
    mark: str
    age: float


def checked_item(item: str) -> str:
    """The item's id.

    Raises:
        StoreError: It is none.
    """
    if not _ITEM.fullmatch(item):
        raise StoreError(f"{item!r} is no item", fix="name it by its id")
    return item
