"""What is a key of a store: a relative path with forward slashes that can't lead out of it."""

from __future__ import annotations

import re

from results_schema import layout
from results_schema.errors import StoreError

_KEY = re.compile(f"{layout.NAME}(/{layout.NAME})*")


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
