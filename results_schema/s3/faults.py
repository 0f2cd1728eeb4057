"""What an S3 server or the network refuses, told as an error of the store with its cure."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from results_schema.errors import StoreError, StoreFull

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
def told(where: str) -> Iterator[None]:
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
