"""Whether a store will do: it can be written, by one worker alone, and gives back what it took."""

from __future__ import annotations

import shutil
import tempfile
import time
import uuid
from pathlib import Path

from orchestrator.execution.checks import ROOM, Check
from orchestrator.output.text import byte_size
from results_schema import layout
from results_schema.errors import NasSweepError
from results_schema.s3.bucket import Bucket
from results_schema.s3.store import S3Store
from results_schema.store import LocalStore, attach_store

SKEW = 30.0
"""Seconds by which the store's clock may differ: `status` tells lost workers by it after 60."""


def check_place(location: str, room: int = ROOM) -> Check:
    """Whether the place of a store will do; nothing need be there yet.

    Args:
        location: As given to `--store`.
        room: Bytes that should be free; of a bucket that is not known.
    """
    try:
        store = attach_store(location)
    except NasSweepError as error:
        return _bad(error)
    if isinstance(store, S3Store):
        return check_bucket(store)
    return check_store(Path(location), room)


def check_store(store: Path, room: int = ROOM) -> Check:
    """Whether the store can be written, durably and by one worker alone, and has room.

    Args:
        store: Its folder, which need not be there yet.
        room: Bytes that should be free.
    """
    place = store.absolute()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        return Check("store", "bad", f"{place} is no folder", "use --store with another folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".nas-sweep-doctor-", dir=place) as folder:
            trial = LocalStore(folder)
            lease, other = trial.leases.take("doctor"), trial.leases.take("doctor")
            if lease is None or other is not None:
                said = "two workers can hold one lease: its renames are not exclusive"
                return Check("store", "bad", said, "use --store on another file system")
            trial.put("doctor/file", b"old", lease=lease, durable=True)
            trial.put("doctor/file", b"new", lease=lease, durable=True)
            sound = trial.get("doctor/file") == b"new"
            skew = (Path(folder) / "doctor/file").stat().st_mtime - time.time()
            lease.release()
        free = shutil.disk_usage(place).free
    except NasSweepError as error:
        return _bad(error)
    except OSError as error:
        fix = "mend its permissions, or use --store with a folder of your own"
        return Check("store", "bad", f"{place}: {error.strerror or error}", fix)
    if not sound:
        return Check("store", "bad", f"{place} does not give back what was written", "replace it")
    if abs(skew) > SKEW:
        said = f"its clock is {skew:+.0f} s off this machine's"
        return Check("store", "bad", said, "set both by NTP")
    if free < room:
        said = f"{place}: {byte_size(free)} free, and {byte_size(room)} may be needed"
        fix = "make room there (nas-sweep gc finds what nobody needs), or use --store elsewhere"
        return Check("store", "bad", said, fix)
    return Check("store", "ok", f"{place} can be written, {byte_size(free)} free")


def check_bucket(store: S3Store) -> Check:
    """Whether the bucket is there, can be written, and creates each name for one writer alone."""
    name = layout.room(f"check-{uuid.uuid4().hex}")
    bucket: Bucket = store.bucket
    try:
        list(bucket.list(name))
        first, second = bucket.create(name, b"first"), bucket.create(name, b"second")
        found = bucket.get(name)
        bucket.remove([name])
    except NasSweepError as error:
        return _bad(error)
    if not first or second:
        said = f"{store.location}: its server ignores If-None-Match: two workers can hold one lease"
        return Check("store", "bad", said, "use a server that knows conditional PUTs")
    if not found or found[0] != b"first":
        said = f"{store.location} does not give back what was written"
        return Check("store", "bad", said, "use --store with another bucket")
    return Check("store", "ok", f"{store.location} can be written, by one worker alone")


def _bad(error: NasSweepError) -> Check:
    return Check("store", "bad", f"{error.where}: {error.what}", error.fix)
