"""Downloads of archives: gone on with after a break, kept only if their MD5 is the published one.

`torchvision.datasets.utils` starts each download from nothing, waits for ever on a silent server
and turns to plain HTTP when the disk is full, so this is done here, with the standard library.
"""

from __future__ import annotations

import http.client
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from results_schema.errors import DataError
from workers.data import archives
from workers.data.archives import Archive

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""
_TRIES = 3
_BLOCK = 1 << 20
_BROKEN = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)


def download(archive: Archive, folder: Path) -> None:
    """Puts an archive into the folder; a broken download leaves its part for the next call.

    Raises:
        DataError: The server can't be reached or offers something else.
        OSError: The folder can't be written.
    """
    part = folder / f"{archive.file}.part"
    for left in reversed(range(_TRIES)):
        try:
            with _reaching(archive, folder):
                _go_on(archive, part)
            break
        except DataError:
            if not left:
                raise
    with part.open("rb") as file:
        found = archives.md5(file)
    if found != archive.md5:
        part.unlink()
        raise DataError(
            f"the download has MD5 {found}, not {archive.md5}",
            where=archive.url,
            fix=archive.by_hand(folder),
        )
    part.rename(folder / archive.file)


def check_offer(archive: Archive, folder: Path) -> None:
    """Asks the server for the archive's size, not for the archive.

    Raises:
        DataError: The server can't be reached or offers something else.
    """
    request = urllib.request.Request(archive.url, method="HEAD")
    with _reaching(archive, folder), urllib.request.urlopen(request, timeout=10) as answer:
        size = answer.headers.get("Content-Length")
        if size != str(archive.size):
            raise DataError(
                f"the server offers {size} bytes, not {archive.size}",
                where=archive.url,
                fix=archive.by_hand(folder),
            )


def _go_on(archive: Archive, part: Path) -> None:
    with part.open("ab") as file:
        if file.tell() > archive.size:
            _empty(file)
        if file.tell() == archive.size:
            return
        request = urllib.request.Request(archive.url)
        request.add_header("Range", f"bytes={file.tell()}-")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                _empty(file)  # the server can only begin again
            while block := answer.read(min(_BLOCK, archive.size - file.tell())):
                file.write(block)
        if file.tell() < archive.size:
            raise http.client.HTTPException(f"broke off after {file.tell():,} bytes")


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


@contextmanager
def _reaching(archive: Archive, folder: Path) -> Iterator[None]:
    """Turns what a network does into a `DataError`."""
    try:
        yield
    except _BROKEN as error:
        raise DataError(
            f"can't be downloaded: {getattr(error, 'reason', error)}",
            where=archive.url,
            fix=archive.by_hand(folder),
        ) from error
