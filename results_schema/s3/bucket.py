"""Objects in a bucket: put, create, get, list and remove, each tried again when that may help.

This is the only room that imports boto3, and only once a store in a bucket is opened.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

from results_schema.errors import CorruptData, MachineError, StoreError, StoreFull
from results_schema.layout import is_key

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Address:
    """Where a store lies.

    Attributes:
        bucket: Its name.
        prefix: What all names begin with: empty, or ending in a slash.
    """

    bucket: str
    prefix: str

    @classmethod
    def of(cls, url: str) -> Address:
        """What a URL says.

        Raises:
            StoreError: It names no bucket, or has a prefix that is no key. The URL is not
                repeated whole: it might hold credentials.
        """
        found = _ADDRESS.fullmatch(url)
        prefix = (found[2] or "").rstrip("/") if found else ""
        if not found or (prefix and not is_key(prefix)):
            raise StoreError(
                "this names no place in a bucket",
                where="--store s3://…",
                fix="write s3://bucket/results: a bucket, then names of letters, digits and "
                "._@+-; credentials go into the environment, never into the address",
            )
        return cls(found[1], f"{prefix}/" if prefix else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


CREDENTIALS = (
    "give credentials where boto3 looks for them, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role"
)
_CURES = {
    "AccessDenied": "allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there",
    "AllAccessDisabled": "use --store with another bucket",
    "EntityTooLarge": "a file of a checkpoint may have 5 GB at most",
    "ExpiredToken": "renew the credentials, then launch again",
    "InvalidAccessKeyId": CREDENTIALS,
    "InvalidToken": CREDENTIALS,
    "NoSuchBucket": "make the bucket, or use --store with another one",
    "NotImplemented": "use a server that knows conditional PUTs (If-None-Match)",
    "PermanentRedirect": "the bucket is in another region: name it in AWS_REGION",
    "RequestTimeTooSkewed": "set this machine's clock, by NTP",
    "SignatureDoesNotMatch": CREDENTIALS,
    "403": "check the credentials, and that they may list, read, write and delete there",
    "404": "make the bucket, or use --store with another one",
}
_FULL = {"QuotaExceeded", "XMinioStorageFull", "507"}
_WAIT = "the store did not answer in time; what was written so far is kept, so launch again later"


@contextlib.contextmanager
def store_errors(where: str) -> Iterator[None]:
    """Inside this context what boto3 raises becomes an error of the store.

    Args:
        where: The object's or the store's address.

    Raises:
        StoreFull: A quota or the server's disk is full.
        StoreError: Anything else that went wrong, also after several tries.
    """
    from botocore.exceptions import (
        BotoCoreError,
        ClientError,
        HTTPClientError,
        NoCredentialsError,
        PartialCredentialsError,
    )

    try:
        yield
    except ClientError as error:
        code, status, what = _answer(error.response)
        if _FULL & {code, status}:
            fix = "free some space there: nothing written so far is lost"
            raise StoreFull(what, where=where, fix=fix) from error
        fix = _CURES.get(code) or _CURES.get(status, _WAIT)
        raise StoreError(what, where=where, fix=fix) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreError("there are no credentials for it", where=where, fix=CREDENTIALS) from error
    except HTTPClientError as error:
        raise StoreError(_first_line(error), where=where, fix=_WAIT) from error
    except BotoCoreError as error:
        fix = "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL_S3"
        raise StoreError(_first_line(error), where=where, fix=fix) from error


def code_of(error: BaseException | None) -> str:
    """The code with which the server refused, or the status; empty if it was no refusal."""
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return ""
    code, status, _ = _answer(error.response)
    return code or status


def _answer(response: Any) -> tuple[str, str, str]:
    """Code, HTTP status, and what to say of a refusal."""
    told, about = response.get("Error", {}), response.get("ResponseMetadata", {})
    code, status = str(told.get("Code", "")), str(about.get("HTTPStatusCode", ""))
    what = told.get("Message") or "the server refused it"
    return code, status, f"{what} ({code or status})"


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


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
        with store_errors(self.where(name)):
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
                with store_errors(self.where(name)):
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
        with store_errors(self.where(name)):
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
                with store_errors(self.where(name)):
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
            with store_errors(self.where(start)):
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
        with store_errors(self.where(start)):
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
            with store_errors(self.where(batch[0])):
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
    with _CONNECTING, store_errors("s3://"):
        client = boto3.client("s3", config=config)
        if ".amazonaws." not in client.meta.endpoint_url:
            # Other servers know a bucket by its path; few have a host name for each.
            config = config.merge(Config(s3={"addressing_style": "path"}))
            client = boto3.client("s3", config=config)
    return client


def _date(answer: Any) -> datetime:
    """When a server answered, by its own clock."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
