"""A file that carries its own SHA-256, so that a flipped bit anywhere in it is noticed.

Parquet's page checksums leave out the footer, where one flipped bit renames a column or drops
rows. The seal lies in the footer's metadata and is taken with zeros in its own place. A file that
somebody else wrote has none, and is read as it is.
"""

import hashlib
import re

KEY = "nas-sweep-sha256"
BLANK = f"{KEY}:{'0' * 64}"
"""What a writer puts into the metadata, under `KEY`, for `seal` to fill in."""

_SEAL = re.compile(rb"%b:[0-9a-f]{64}" % KEY.encode())


def seal(data: bytes) -> bytes:
    """The file with its last `BLANK` replaced by its digest.

    Raises:
        ValueError: There is no `BLANK`.
    """
    head, blank, tail = data.rpartition(BLANK.encode())
    if not blank:
        raise ValueError(f"nothing to seal: the file lacks {BLANK!r}")
    return head + f"{KEY}:{hashlib.sha256(data).hexdigest()}".encode() + tail


def is_sealed(data: bytes) -> bool:
    """Whether the file has, or had, a seal.

    `KEY` is there twice, as the metadata's key and before the digest, so that a file does not pass
    for unsealed because a bit of its seal was flipped.
    """
    return KEY.encode() in data


def is_sound(data: bytes) -> bool:
    """Whether a sealed file is as it was when it was sealed."""
    seals = list(_SEAL.finditer(data))
    if not seals:
        return False
    start, end = seals[-1].span()
    return seal(data[:start] + BLANK.encode() + data[end:]) == data
