"""Archives as their authors publish them: verified whole, read member by member, never extracted.

A member's name, kind and size are checked before its bytes are read, although a verified archive
is the published one, so that a mistaken checksum cannot fill a disk or a memory.
"""

from __future__ import annotations

import gzip
import hashlib
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, BinaryIO, cast

from results_schema.errors import DataError

_SLACK = 1 << 20
"""Bytes allowed beside the images: readmes, names of classes, headers."""

_BROKEN = (
    EOFError,
    NotImplementedError,
    OSError,
    UnicodeError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_LINKS = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link"}
_REPLACE = "this is not the published archive: delete it, and the next run downloads it"


@dataclass(frozen=True)
class Archive:
    """A file that a data set's authors publish.

    Attributes:
        file: Its name.
        url: Where it is published.
        size: In bytes.
        md5: In hexadecimal.
        pickled: Name of the same data published as Python pickles, which are not read.
    """

    file: str
    url: str
    size: int
    md5: str
    pickled: str = ""

    def by_hand(self, folder: Path) -> str:
        """How to get it without this program."""
        advice = (
            f"put {self.file} ({self.size:,} bytes, MD5 {self.md5}) from {self.url} into {folder}"
        )
        if self.pickled and (folder / self.pickled).exists():
            advice += f"; {self.pickled} won't do, for reading a pickle runs what it says"
        return advice

    def again(self, path: Path) -> str:
        """How to replace a damaged copy."""
        return f"delete it, and the next run downloads it, or {self.by_hand(path.parent)}"

    def check_size(self, path: Path) -> None:
        """Compares a file's size with the published one.

        Raises:
            DataError: It differs, or the file can't be read.
        """
        try:
            size = path.stat().st_size
        except OSError as error:
            raise DataError(f"can't be read: {error.strerror}", where=str(path)) from error
        if size != self.size:
            what = "is incomplete" if size < self.size else "is another file"
            raise DataError(
                f"{what}: it has {size:,} bytes, not {self.size:,}",
                where=str(path),
                fix=self.again(path),
            )


@contextmanager
def open_verified(path: Path, archive: Archive) -> Iterator[BufferedReader]:
    """Opens an archive after comparing its size and MD5 with the published ones.

    Raises:
        DataError: One of them differs, or the file can't be read.
    """
    archive.check_size(path)
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(f"can't be read: {error.strerror}", where=str(path)) from error
    with file:
        # Hashing and reading the same open file leaves no moment to swap it in between.
        found = md5(file)
        if found != archive.md5:
            raise DataError(
                f"is damaged: its MD5 is {found}", where=str(path), fix=archive.again(path)
            )
        file.seek(0)
        yield file


def md5(file: BufferedReader) -> str:
    """MD5 of an open file, from where it stands to its end, in hexadecimal."""
    return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def read_tar(file: BinaryIO, wanted: Collection[str], most: int) -> dict[str, bytes]:
    """The members of a gzipped tar that are wanted.

    Args:
        file: Open at its start.
        wanted: Names of members.
        most: Bytes that they have together; little more may lie beside them.

    Raises:
        DataError: A member is missing, comes twice, is no plain file, lies outside the archive,
            or makes it too large; or the archive can't be read.
    """
    where, found = file.name, {}
    members = _Members(where, most + _SLACK)
    with _reading(where), gzip.open(file) as unpacked:
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
    """Opens a zip whose members are all checked; errors in reading them become `DataError`.

    Args:
        file: Open at its start.
        most: Bytes that its members may have together.

    Raises:
        DataError: A member comes twice, is no plain file, is encrypted, lies outside the
            archive, or makes it too large; or the archive can't be read.
    """
    members = _Members(file.name, most + _SLACK)
    with _reading(file.name), zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.is_dir():
                continue
            # Only archives made on Unix say what kind of file a member is.
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
        """Its name in the plainest form; `kind` says what it is if it may not be that."""
        path = PurePosixPath(member.replace("\\", "/"))
        name = str(path)
        self.bytes += size
        if path.is_absolute() or PureWindowsPath(member).drive or ".." in path.parts:
            what = "lies outside the archive"
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
def _reading(where: str) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        raise DataError(f"can't be read: {error}", where=where, fix=_REPLACE) from error
