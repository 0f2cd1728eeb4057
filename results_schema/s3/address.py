"""The address of a store in a bucket: `s3://bucket/prefix`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from results_schema.errors import StoreError
from results_schema.keys import is_key

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
