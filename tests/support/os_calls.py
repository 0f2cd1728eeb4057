"""What the store asks of the operating system, seen one call at a time.

Inside `watched`, each call that concerns something below a folder is first shown to a function,
which may raise what the system would, or kill the process. Calls that pass are the real ones.
"""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_READLINK, _IO_OPEN = os.readlink, io.open
_NAMES = (
    *("fsync", "replace", "rename", "mkdir", "unlink", "rmdir"),
    *("scandir", "listdir", "stat", "lstat", "utime", "open"),
)


@dataclass
class Call:
    """One call.

    Attributes:
        name: Of the function: those of `os`, or "create", "read" and "write" for a file.
        path: What it concerns, relative to the folder that is watched.
        target: Where a rename leads.
        half: Writes the first half of what is to be written.
    """

    name: str
    path: str
    target: str = ""
    half: Callable[[], None] = lambda: None


Act = Callable[[Call], None]


@contextmanager
def watched(root: Path, act: Act) -> Iterator[None]:
    """Shows `act` each call below the root before it is made."""
    with pytest.MonkeyPatch.context() as patch:
        for name in _NAMES:
            patch.setattr(os, name, _showing(name, getattr(os, name), str(root), act))
        patch.setattr(io, "open", _opening(str(root), act))
        yield


def _showing(name: str, real: Callable[..., Any], root: str, act: Act) -> Callable[..., Any]:
    def call(*arguments: Any, **options: Any) -> Any:
        folder = options.get("dir_fd", options.get("src_dir_fd"))
        path = _below(root, arguments[0] if arguments else ".", folder)
        if path is not None:
            shown = "create" if name == "open" and arguments[1] & os.O_CREAT else name
            target = ""
            if name in ("rename", "replace"):
                target = _below(root, arguments[1], options.get("dst_dir_fd")) or ""
            act(Call(shown, path, target))
        return real(*arguments, **options)

    return call


def _below(root: str, path: Any, folder: int | None = None) -> str | None:
    """The path relative to the root, None if it lies elsewhere."""
    if isinstance(path, int):
        full = _READLINK(f"/proc/self/fd/{path}")
    else:
        full = os.fspath(path)
        if isinstance(full, bytes):
            return None
        if folder is not None:
            full = f"{_READLINK(f'/proc/self/fd/{folder}')}/{full}"
    if full == root:
        return "."
    return full.removeprefix(root + "/") if full.startswith(root + "/") else None


class _File(io.FileIO):
    """A file whose reads and writes are shown first."""

    def __init__(self, path: str | int, mode: str, name: str, act: Act, own: bool) -> None:
        super().__init__(path, mode, closefd=own)
        self._shown, self._act = name, act

    def readall(self) -> bytes:
        self._act(Call("read", self._shown))
        return super().readall()

    def read(self, size: int | None = -1) -> bytes:
        self._act(Call("read", self._shown))
        return super().read(-1 if size is None else size)

    def readinto(self, buffer: Any) -> int:
        self._act(Call("read", self._shown))
        return super().readinto(buffer)

    def write(self, data: Any) -> int:
        content = bytes(data)

        def half() -> None:
            io.FileIO.write(self, content[: len(content) // 2])

        self._act(Call("write", self._shown, half=half))
        return super().write(data)


def _opening(root: str, act: Act) -> Callable[..., Any]:
    def open_file(
        file: Any,
        mode: str = "r",
        buffering: int = -1,
        encoding: Any = None,
        *rest: Any,
        closefd: bool = True,
    ) -> Any:
        name = _below(root, file)
        if name is None:
            return _IO_OPEN(file, mode, buffering, encoding, *rest, closefd=closefd)
        writing = "r" not in mode
        if not isinstance(file, int):  # else it was shown when it was opened
            act(Call("create" if writing else "open", name))
        raw = _File(file, mode.replace("b", "").replace("t", ""), name, act, closefd)
        if buffering == 0:
            return raw
        buffer = io.BufferedWriter(raw) if writing else io.BufferedReader(raw)
        return buffer if "b" in mode else io.TextIOWrapper(buffer, encoding, *rest)

    return open_file
