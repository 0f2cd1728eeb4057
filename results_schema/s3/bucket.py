"""Objects in a bucket: put, create, get, list and remove, each tried again when that may help.

This is the only module that imports boto3, and only once a store in a bucket is opened.
"""

from __future__ import annotations

import contextlib
import re
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

from results_schema.errors import CorruptData, MachineError, StoreError, StoreFull, check_size
from results_schema.layout import Stat, is_key

_ADDRESS = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?", re.DOTALL)
_CREDENTIALS = (
    "give credentials where boto3 looks for them, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, AWS_PROFILE or a role"
)
_FIXES = {
    "AccessDenied": "allow s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject there",
    "AllAccessDisabled": "use --store with another bucket",
    "EntityTooLarge": "a file of a checkpoint may have 5 GB at most",
    "ExpiredToken": "renew the credentials, then launch again",
    "InvalidAccessKeyId": _CREDENTIALS,
    "InvalidToken": _CREDENTIALS,
    "NoSuchBucket": "make the bucket, or use --store with another one",
    "NotImplemented": "use a server that knows conditional PUTs (If-None-Match)",
    "PermanentRedirect": "the bucket is in another region: name it in AWS_REGION",
    "RequestTimeTooSkewed": "set this machine's clock, by NTP",
    "SignatureDoesNotMatch": _CREDENTIALS,
    "403": "check the credentials, and that they may list, read, write and delete there",
    "404": "make the bucket, or use --store with another one",
}
_WAIT = "the store did not answer in time; what was written so far is kept, so launch again later"
_FULL = {"QuotaExceeded", "XMinioStorageFull", "507"}
_MISSING = {"NoSuchKey", "404", "NotFound"}
_EXISTS = {"PreconditionFailed", "412"}
_CONFLICT = {"ConditionalRequestConflict", "409"}
_BATCH = 1000
_PAUSE = 0.5
_CONNECTING = threading.Lock()
"""boto3's default session may make one client at a time."""

T = TypeVar("T")


class Patience(NamedTuple):
    """Tries of a request; seconds to wait for a connection and for each piece of an answer."""

    tries: int
    connect: float
    read: float


PATIENT = Patience(tries=8, connect=10, read=60)
"""For what must be read or written, or the work is lost."""
HASTY = Patience(tries=2, connect=3, read=8)
"""For what is asked again in a few seconds: a heartbeat, with its two requests, that is given up
within the 60 s for which a lease lasts without one."""


@dataclass(frozen=True)
class Entry(Stat):
    """An object in a listing; its name is below the store's prefix."""

    name: str


class Bucket:
    """The objects of a store, at `s3://bucket/prefix`. Threads may share it.

    Raises:
        StoreError: The URL names no place in a bucket.
        MachineError: The package boto3 is not installed.
    """

    def __init__(self, url: str, patience: Patience = PATIENT) -> None:
        self._bucket, self._prefix = parse_url(url)
        self.url = f"s3://{self._bucket}/{self._prefix}".rstrip("/")
        self._patience = patience
        self._client = _connect(patience)

    @cached_property
    def hasty(self) -> Bucket:
        """The same objects, given up after a few seconds (`HASTY`)."""
        return Bucket(self.url, HASTY)

    def where(self, name: str) -> str:
        """Return an object's URL."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def put(self, name: str, data: bytes) -> None:
        """Put an object, over one that may be there."""
        with _store_errors(self.where(name)):
            self._client.put_object(**self._at(name), Body=data)

    def create(self, name: str, data: bytes, writer: str = "") -> bool:
        """Create an object; return False if there is another writer's."""
        about = {"writer": writer or uuid.uuid4().hex}
        new = {**self._at(name), "Body": data, "Metadata": about, "IfNoneMatch": "*"}
        try:
            self._retry(name, lambda: self._client.put_object(**new), _CONFLICT)
        except StoreError as error:
            if _code(error) not in _EXISTS:
                raise
            # A request whose answer was lost is sent again, and then refused because of itself.
            found = self._find(name, lambda: self._client.head_object(**self._at(name)), ())
            return found is not None and found["Metadata"].get("writer") == about["writer"]
        return True

    def get(self, name: str, *, most: int | None = None) -> tuple[bytes, str] | None:
        """Return an object's bytes and its writer; None if there is no such object.

        Raises:
            CorruptData: It has more than `most` bytes; none is read.
        """

        def read() -> tuple[bytes, str]:
            found = self._client.get_object(**self._at(name))
            # As a context of its own it would give the bare stream, which checks nothing.
            with contextlib.closing(found["Body"]) as body:
                check_size(found["ContentLength"], most, self.where(name))
                return body.read(), found.get("Metadata", {}).get("writer", "")

        # boto3 itself repeats what a server refused, but not an answer that broke off.
        return self._find(name, read, {""})

    def list(
        self, start: str, *, after: str = "", flat: bool = False, page: int = _BATCH
    ) -> Iterator[Entry]:
        """Yield the objects whose names begin with `start`, sorted.

        Args:
            start: Start of the names.
            after: If given, only names that sort behind it.
            flat: Whether to omit names with a further slash.
            page: How many names to request at a time.
        """
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": self._prefix + start}
        asked |= {"StartAfter": self._prefix + after} if after else {}
        asked |= {"Delimiter": "/"} if flat else {}
        while True:
            with _store_errors(self.where(start)):
                found = self._client.list_objects_v2(**asked, MaxKeys=page)
            # Ages are by the server's clock, the only one that all machines share.
            now = parsedate_to_datetime(found["ResponseMetadata"]["HTTPHeaders"]["date"])
            for one in found.get("Contents", ()):
                age = max(0.0, (now - one["LastModified"]).total_seconds())
                yield Entry(one["Size"], str(one["ETag"]), age, one["Key"][len(self._prefix) :])
            if not found.get("IsTruncated"):
                return
            asked["ContinuationToken"] = found["NextContinuationToken"]

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects, as far as they are there."""
        left = list(names)
        while left:
            batch, left = left[:_BATCH], left[_BATCH:]
            with _store_errors(self.where(batch[0])):
                if len(batch) == 1:
                    self._client.delete_object(**self._at(batch[0]))
                    continue
                asked = {"Objects": [{"Key": self._prefix + name} for name in batch], "Quiet": True}
                answer = self._client.delete_objects(Bucket=self._bucket, Delete=asked)
            if refused := answer.get("Errors"):
                what = f"{len(refused)} objects can't be removed: {refused[0].get('Message')}"
                raise StoreError(what, where=self.where(batch[0]), fix="allow s3:DeleteObject")

    def _find(self, name: str, ask: Callable[[], T], again: Collection[str]) -> T | None:
        """Return an answer about an object; None if there is no such object."""
        try:
            return self._retry(name, ask, again)
        except StoreError as error:
            if _code(error) in _MISSING:
                return None
            raise

    def _retry(self, name: str, ask: Callable[[], T], again: Collection[str]) -> T:
        """Ask until there is an answer, as long as it fails with one of some codes."""
        attempt = 0
        while True:
            attempt += 1
            try:
                with _store_errors(self.where(name)):
                    return ask()
            except StoreError as error:
                damaged = isinstance(error, CorruptData)
                if damaged or attempt == self._patience.tries or _code(error) not in again:
                    raise
            time.sleep(_PAUSE * (attempt - 1))

    def _at(self, name: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + name}


def parse_url(url: str) -> tuple[str, str]:
    """Return the bucket of `s3://bucket/prefix`, and the prefix with a slash unless it is empty.

    Raises:
        StoreError: The URL names no bucket, or its prefix is not a key.
    """
    found = _ADDRESS.fullmatch(url)
    prefix = (found[2] or "").rstrip("/") if found else ""
    if found and (not prefix or is_key(prefix)):
        return found[1], f"{prefix}/" if prefix else ""
    # The URL is not repeated: it might hold credentials.
    fix = (
        "write s3://bucket/results: a bucket, then names of letters, digits and ._@+-; "
        "credentials go into the environment, never into the address"
    )
    raise StoreError("this names no place in a bucket", where="--store s3://…", fix=fix)


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
    with _CONNECTING, _store_errors("s3://"):
        client = boto3.client("s3", config=config)
        if ".amazonaws." not in client.meta.endpoint_url:
            # Other servers know a bucket by its path; few have a host name for each.
            config = config.merge(Config(s3={"addressing_style": "path"}))
            client = boto3.client("s3", config=config)
    return client


@contextlib.contextmanager
def _store_errors(where: str) -> Iterator[None]:
    """Raise what boto3 raises inside this context as `StoreFull` or another `StoreError`."""
    from botocore import exceptions

    try:
        yield
    except exceptions.ClientError as error:
        code, status = _refusal(error)
        what = error.response.get("Error", {}).get("Message") or "the server refused it"
        what = f"{what} ({code or status})"
        if _FULL & {code, status}:
            fix = "free some space there: nothing written so far is lost"
            raise StoreFull(what, where=where, fix=fix) from error
        fix = _FIXES.get(code) or _FIXES.get(status, _WAIT)
        raise StoreError(what, where=where, fix=fix) from error
    except exceptions.BotoCoreError as error:
        what = (str(error).splitlines() or [type(error).__name__])[0]
        fix = "check AWS_PROFILE, AWS_REGION and AWS_ENDPOINT_URL_S3"
        if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
            what, fix = "there are no credentials for it", _CREDENTIALS
        elif isinstance(error, exceptions.HTTPClientError):
            fix = _WAIT
        raise StoreError(what, where=where, fix=fix) from error


def _refusal(error: Any) -> tuple[str, str]:
    """Return the code and the HTTP status of a server's refusal."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "")
    return str(error.response.get("Error", {}).get("Code", "")), str(status)


def _code(error: StoreError) -> str:
    """Return the code with which the server refused, or the status; "" if it did not refuse."""
    from botocore.exceptions import ClientError

    cause = error.__cause__
    return next(filter(None, _refusal(cause)), "") if isinstance(cause, ClientError) else ""
