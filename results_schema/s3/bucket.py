"""Objects in a bucket: put, create, get, list and remove, each tried again when that may help.

This is the only room that imports boto3, and only once a store in a bucket is opened.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from results_schema.errors import CorruptData, MachineError, StoreError
from results_schema.s3.address import Address
from results_schema.s3.faults import code_of, told


@dataclass(frozen=True)
class Patience:
    """How long a bucket is waited for.

    Attributes:
        tries: Times that a request is sent at most.
        connect: Seconds to wait for a connection.
        read: Seconds to wait for each piece of an answer.
    """

    tries: int
    connect: float
    read: float


PATIENT = Patience(tries=8, connect=10, read=60)
"""For what must be read or written, or the work is lost."""
HASTY = Patience(tries=2, connect=3, read=8)
"""For what is asked again in a few seconds: a beat, with its two requests, that is given up within
the 60 s for which a lease lasts without one."""
_MISSING = {"NoSuchKey", "404", "NotFound"}
_EXISTS = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "409"}
_BATCH = 1000
_PAUSE = 0.5


@dataclass(frozen=True)
class Entry:
    """An object as a list names it.

    Attributes:
        name: Below the store's prefix.
        size: Bytes.
        mark: Another one after each put.
        age: Seconds since it was put, by the server's clock.
    """

    name: str
    size: int
    mark: str
    age: float


class Bucket:
    """The objects below an address. Threads may share it."""

    def __init__(self, address: Address, patience: Patience = PATIENT) -> None:
        self.address = address
        self._patience = patience
        self._client = _connect(patience)

    @cached_property
    def hasty(self) -> Bucket:
        """The same objects, asked with little patience (`HASTY`)."""
        return Bucket(self.address, HASTY)

    def where(self, name: str) -> str:
        """An object's address."""
        return f"s3://{self.address.bucket}/{self.address.prefix}{name}"

    def put(self, name: str, data: bytes) -> None:
        """Puts an object, over one that may be there."""
        with told(self.where(name)):
            self._client.put_object(**self._at(name), Body=data)

    def create(self, name: str, data: bytes, writer: str = "") -> bool:
        """Puts an object where none is; false if there is another writer's.

        A request whose answer was lost is sent again, and then refused because of itself: so the
        object that is there is looked at for this writer's mark.

        Args:
            name: Where.
            data: What.
            writer: The mark, a random one if empty.
        """
        writer = writer or uuid.uuid4().hex
        about = {"writer": writer}
        tries = self._patience.tries
        for attempt in range(tries):
            try:
                with told(self.where(name)):
                    self._create(name, data, about)
            except StoreError as error:
                code = code_of(error.__cause__)
                if code in _EXISTS:
                    return self.writer(name) == writer
                if code not in _CONFLICT or attempt == tries - 1:
                    raise
                time.sleep(_PAUSE * attempt)
            else:
                return True
        return False

    def writer(self, name: str) -> str | None:
        """The mark of who created an object; None if there is none."""
        with told(self.where(name)):
            try:
                found = self._client.head_object(**self._at(name))
            except self._client.exceptions.ClientError as error:
                if code_of(error) in _MISSING:
                    return None
                raise
        return found.get("Metadata", {}).get("writer", "")

    def get(self, name: str, *, most: int | None = None) -> tuple[bytes, str] | None:
        """An object's bytes and its writer's mark; None if there is none.

        Raises:
            CorruptData: It has more bytes than it may have; none is read.
        """
        tries = self._patience.tries
        for attempt in range(tries):
            try:
                with told(self.where(name)):
                    return self._get(name, most)
            except StoreError as error:
                # A refusal has been tried again by boto3; an answer cut off in its middle has not.
                refused = isinstance(error, CorruptData) or code_of(error.__cause__)
                if refused or attempt == tries - 1:
                    raise
                time.sleep(_PAUSE * attempt)
        return None

    def list(self, start: str, *, after: str = "", flat: bool = False) -> Iterator[Entry]:
        """The objects whose names begin so, sorted.

        Args:
            start: Of the names.
            after: If given, only names that sort behind it.
            flat: Whether to leave out those with a further slash.
        """
        prefix = self.address.prefix
        asked: dict[str, Any] = {"Bucket": self.address.bucket, "Prefix": prefix + start}
        asked |= {"StartAfter": prefix + after} if after else {}
        asked |= {"Delimiter": "/"} if flat else {}
        while True:
            with told(self.where(start)):
                page = self._client.list_objects_v2(**asked)
            now = _date(page)
            for one in page.get("Contents", ()):
                age = max(0.0, (now - one["LastModified"]).total_seconds())
                yield Entry(one["Key"][len(prefix) :], one["Size"], str(one["ETag"]), age)
            if not page.get("IsTruncated"):
                return
            asked["ContinuationToken"] = page["NextContinuationToken"]

    def any(self, start: str, *, after: str) -> bool:
        """Whether there is a name that begins so and sorts behind another one."""
        with told(self.where(start)):
            page = self._client.list_objects_v2(
                Bucket=self.address.bucket,
                Prefix=self.address.prefix + start,
                StartAfter=self.address.prefix + after,
                MaxKeys=1,
            )
        return bool(page.get("Contents"))

    def remove(self, names: Iterable[str]) -> None:
        """Removes objects, as far as they are there."""
        left = list(names)
        while left:
            batch, left = left[:_BATCH], left[_BATCH:]
            with told(self.where(batch[0])):
                if len(batch) == 1:
                    self._client.delete_object(**self._at(batch[0]))
                    continue
                keys = [{"Key": self.address.prefix + name} for name in batch]
                answer = self._client.delete_objects(
                    Bucket=self.address.bucket, Delete={"Objects": keys, "Quiet": True}
                )
            if refused := answer.get("Errors"):
                what = f"{len(refused)} objects can't be removed: {refused[0].get('Message')}"
                raise StoreError(what, where=self.where(batch[0]), fix="allow s3:DeleteObject")

    def _create(self, name: str, data: bytes, about: dict[str, str]) -> None:
        self._client.put_object(**self._at(name), Body=data, Metadata=about, IfNoneMatch="*")

    def _get(self, name: str, most: int | None) -> tuple[bytes, str] | None:
        try:
            found = self._client.get_object(**self._at(name))
        except self._client.exceptions.ClientError as error:
            if code_of(error) in _MISSING:
                return None
            raise
        # As a context of its own it would give the bare stream, which checks nothing.
        with contextlib.closing(found["Body"]) as body:
            size = found["ContentLength"]
            if most is not None and size > most:
                raise CorruptData(
                    f"it has {size} bytes, not {most} at most", where=self.where(name)
                )
            return body.read(), found.get("Metadata", {}).get("writer", "")

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self.address.bucket, "Key": self.address.prefix + name}


_CONNECTING = threading.Lock()
"""boto3's default session may make one client at a time."""


def _connect(patience: Patience) -> Any:
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise MachineError(
            "a store on s3:// needs the package boto3",
            where="--store",
            fix="pip install 'nas-sweep[s3]' (in a checkout: uv sync --extra s3)",
        ) from error
    config = Config(
        connect_timeout=patience.connect,
        read_timeout=patience.read,
        max_pool_connections=32,
        retries={"mode": "standard", "total_max_attempts": patience.tries},
        tcp_keepalive=True,
    )
    with _CONNECTING, told("s3://"):
        client = boto3.client("s3", config=config)
        if ".amazonaws." not in client.meta.endpoint_url:
            # Other servers know a bucket by its path; few have a host name for each.
            config = config.merge(Config(s3={"addressing_style": "path"}))
            client = boto3.client("s3", config=config)
    return client


def _date(answer: Any) -> datetime:
    """When a server answered, by its own clock."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
