"""Archives as their authors publish them: downloaded, verified whole, read without extraction.

A download resumes after a break and is kept only if its MD5 is the published one.
`torchvision.datasets.utils` starts each download from nothing, waits forever on a silent server and
turns to plain HTTP when the disk is full, so the standard library is used here.

A member's name, kind and size are checked before its bytes are read, although a verified archive
is the published one, so that a mistaken checksum cannot fill a disk or a memory.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import os
import ssl
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO, cast

from results_schema.errors import DataError

TIMEOUT = 60.0
"""Seconds without a byte after which a connection counts as broken."""

_TRIES = 3
_BLOCK = 1 << 20

_SLACK = 1 << 20
"""Bytes allowed beside the images: readmes, names of classes, headers."""

_REPLACE = "this is not the published archive: delete it, and the next run downloads it"
_LINKS = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}

_NETWORK_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)
_READ_ERRORS = (
    EOFError,
    NotImplementedError,
    OSError,
    UnicodeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class Archive:
    """A file that a data set's authors publish.

    Attributes:
        file: Its name.
        url: Where it is published.
        size: Its size in bytes.
        md5: Its MD5 in hexadecimal.
        pickled: Name of the same data published as Python pickles, which are not read.
    """

    file: str
    url: str
    size: int
    md5: str
    pickled: str = ""

    def by_hand(self, folder: Path) -> str:
        """Return how to get it without this program."""
        advice = (
            f"put {self.file} ({self.size:,} bytes, MD5 {self.md5}) from {self.url} into {folder}"
        )
        if self.pickled and (folder / self.pickled).exists():
            advice += f"; {self.pickled} is not read, as unpickling runs the code in a file"
        return advice

    def check_size(self, path: Path) -> None:
        """Compare a file's size with the published one.

        Raises:
            DataError: It differs, or the file can't be read.
        """
        with _open(path) as file:
            size = file.seek(0, os.SEEK_END)
        if size != self.size:
            what = "is incomplete" if size < self.size else "is another file"
            raise self._unpublished(f"{what}: it has {size:,} bytes, not {self.size:,}", path)

    @contextmanager
    def open(self, path: Path) -> Iterator[BufferedReader]:
        """Open the archive at a path after comparing its size and MD5 with the published ones.

        Raises:
            DataError: One of them differs, or the file can't be read.
        """
        self.check_size(path)
        with _open(path) as file:
            # Hashing and reading the same open file leaves no moment to swap it in between.
            found = _md5(file)
            if found != self.md5:
                raise self._unpublished(f"is damaged: its MD5 is {found}", path)
            file.seek(0)
            yield file

    def download(self, folder: Path) -> None:
        """Put the archive into a folder; a broken download leaves its part for the next call.

        Raises:
            DataError: The server can't be reached or offers something else.
            OSError: The folder can't be written.
        """
        part = folder / f"{self.file}.part"
        for left in reversed(range(_TRIES)):
            try:
                with self._errors(folder):
                    self._resume(part)
                break
            except DataError:
                if not left:
                    raise
        with part.open("rb") as file:
            found = _md5(file)
        if found != self.md5:
            # Every further try would resume from these bytes, so they are not kept.
            part.unlink()
            raise self._refused(f"the download has MD5 {found}, not {self.md5}", folder)
        part.rename(folder / self.file)

    def check_offer(self, folder: Path) -> None:
        """Ask the server for the archive's size, not for the archive.

        Raises:
            DataError: The server can't be reached or offers something else.
        """
        request = urllib.request.Request(self.url, method="HEAD")
        with self._errors(folder), urllib.request.urlopen(request, timeout=10) as answer:
            size = answer.headers.get("Content-Length")
            if size != str(self.size):
                raise self._refused(f"the server offers {size} bytes, not {self.size}", folder)

    def _resume(self, part: Path) -> None:
        with part.open("ab") as file:
            if file.tell() > self.size:
                _empty(file)
            # Asking for a range behind the end is an error to a server, so a full part is not sent.
            if file.tell() == self.size:
                return
            request = urllib.request.Request(self.url)
            request.add_header("Range", f"bytes={file.tell()}-")
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
                if answer.status != http.HTTPStatus.PARTIAL_CONTENT:
                    _empty(file)  # the server can only begin at the first byte
                # A server that sends more than was published cannot fill the disk.
                while block := answer.read(min(_BLOCK, self.size - file.tell())):
                    file.write(block)
            if file.tell() < self.size:
                raise http.client.HTTPException(f"broke off after {file.tell():,} bytes")

    @contextmanager
    def _errors(self, folder: Path) -> Iterator[None]:
        try:
            yield
        except _NETWORK_ERRORS as error:
            what = f"can't be downloaded: {getattr(error, 'reason', error)}"
            raise self._refused(what, folder) from error

    def _refused(self, what: str, folder: Path) -> DataError:
        return DataError(what, where=self.url, fix=self.by_hand(folder))

    def _unpublished(self, what: str, path: Path) -> DataError:
        fix = f"delete it, and the next run downloads it, or {self.by_hand(path.parent)}"
        return DataError(what, where=str(path), fix=fix)


def read_tar(file: BinaryIO, wanted: Collection[str], most: int) -> dict[str, bytes]:
    """Return the wanted members of a gzipped tar of at most about `most` bytes unpacked.

    Raises:
        DataError: A member is missing, comes twice, is no plain file, is outside the archive,
            or makes it too large; or the archive can't be read.
    """
    where, found = file.name, {}
    members = _Members(where, most + _SLACK)
    with _archive_errors(where), gzip.open(file) as unpacked:
        # tarfile itself reads names and sparse maps of any length, so the stream is bounded too.
        stream = cast("IO[bytes]", _Bounded(unpacked, most + 2 * _SLACK, where))
        with tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isdir():
                    continue
                kind = "" if member.isreg() else _LINKS.get(member.type, "no plain file")
                name = members.admit(member.name, kind, member.size)
                data = archive.extractfile(member)
                if name in wanted and data is not None:
                    found[name] = data.read()
    if missing := sorted(set(wanted) - set(found)):
        raise DataError(f"lacks {', '.join(missing)}", where=where, fix=_REPLACE)
    return found


@contextmanager
def open_zip(file: BinaryIO, most: int) -> Iterator[zipfile.ZipFile]:
    """Open a zip of at most about `most` bytes unpacked; errors in reading become `DataError`.

    Raises:
        DataError: A member comes twice, is no plain file, is encrypted, is outside the
            archive, or makes it too large; or the archive can't be read.
    """
    members = _Members(file.name, most + _SLACK)
    with _archive_errors(file.name), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            # Only archives made on Unix record what kind of file a member is.
            mode = stat.S_IFMT(member.external_attr >> 16)
            kind = "a symbolic link" if mode == stat.S_IFLNK else "no plain file"
            if mode in (0, stat.S_IFREG):
                kind = "encrypted" if member.flag_bits & 1 else ""
            members.admit(member.filename, kind, member.file_size)
        yield archive


class _Members:
    """The members met so far; each is refused or admitted before a byte of it is read."""

    def __init__(self, where: str, most: int) -> None:
        self.where, self.most = where, most
        self.names: set[str] = set()
        self.bytes = 0

    def admit(self, member: str, kind: str, size: int) -> str:
        """Return a member's name in its plainest spelling; `kind` is "" for a plain file."""
        # Windows' separators too, as a zip made there has them and a path is joined there.
        path = PurePosixPath(member.replace("\\", "/"))
        name = str(path)
        self.bytes += size
        if path.is_absolute() or PureWindowsPath(member).drive or ".." in path.parts:
            what = "is outside the archive"
        elif kind:
            what = f"is {kind}"
        elif name in self.names:
            what = "comes twice"
        elif self.bytes > self.most:
            what = f"makes it unpack to more than {self.most:,} bytes"
        else:
            self.names.add(name)
            return name
        raise DataError(f"member {member!r} {what}", where=self.where, fix=_REPLACE)


class _Bounded:
    """A stream that ends in an error once it has given more bytes than the limit."""

    def __init__(self, stream: gzip.GzipFile, limit: int, where: str) -> None:
        self.stream, self.left, self.where = stream, limit, where

    def read(self, size: int) -> bytes:
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise DataError("unpacks to more than the data set", where=self.where, fix=_REPLACE)
        return data


@contextmanager
def _archive_errors(where: str) -> Iterator[None]:
    try:
        yield
    except _READ_ERRORS as error:
        raise DataError(f"can't be read: {error}", where=where, fix=_REPLACE) from error


def _open(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path)) from error


def _md5(file: BufferedReader) -> str:
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _empty(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()
