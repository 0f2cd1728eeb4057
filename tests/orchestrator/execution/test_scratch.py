"""Temporary folders of launches: closed to others, and swept by the next launch if left."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.execution import scratch
from orchestrator.execution.scratch import LOCK, remove_dead

LAUNCH = """
import sys, time
from orchestrator.execution.scratch import scratch
with scratch() as folder:
    (folder / "1" / "logs").mkdir(parents=True)
    (folder / "1" / "logs" / "log").write_text("x")
    (folder / "1" / "latest").symlink_to(folder / "1" / "logs")
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="ns", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


@contextlib.contextmanager
def launched() -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that has such a folder until its input ends, and the folder."""
    command = [sys.executable, "-c", LAUNCH]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_a_folder_is_closed_to_others_and_gone_at_the_end(place: Path):
    with pytest.raises(KeyboardInterrupt), scratch.scratch() as folder:
        assert folder.parent == place
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
        raise KeyboardInterrupt
    assert list(place.iterdir()) == []


def test_where_sockets_would_have_too_long_paths_another_place_is_taken(
    place: Path, monkeypatch: pytest.MonkeyPatch
):
    deep = place / ("x" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with scratch.scratch() as folder:
        assert folder.parent == Path(scratch.FALLBACK)
        longest = str(folder) + scratch._DEEPEST.removeprefix("/nas-sweep-12345678")
        with socket.socket(socket.AF_UNIX) as one:
            Path(longest).parent.mkdir(parents=True)
            one.bind(longest)


def test_a_killed_launch_is_swept_and_a_running_one_is_left_alone(place: Path):
    with launched() as (alive, kept), launched() as (dead, left):
        dead.kill()
        dead.wait()
        assert left.exists()
        with scratch.scratch() as own:
            assert not left.exists()
            assert sorted(place.iterdir()) == sorted([kept, own])
            assert (kept / "1" / "logs" / "log").exists()
        assert alive.poll() is None
        alive.communicate("")
    assert list(place.iterdir()) == []


def like_one_of_a_dead_launch(folder: Path, host: str = "") -> Path:
    folder.mkdir(mode=0o700, parents=True)
    (folder / LOCK).write_text(host or socket.gethostname())
    (folder / "1").mkdir()
    return folder


def test_only_what_is_surely_of_a_dead_launch_is_removed(place: Path, tmp_path: Path):
    gone = like_one_of_a_dead_launch(place / "nas-sweep-dead")
    elsewhere = like_one_of_a_dead_launch(tmp_path / "nas-sweep-target")
    kept = [
        like_one_of_a_dead_launch(place / "nas-sweep-host", host="another host"),
        like_one_of_a_dead_launch(place / "another-name"),
        like_one_of_a_dead_launch(place / "nas-sweep-open"),
        like_one_of_a_dead_launch(place / "nas-sweep-new"),
        like_one_of_a_dead_launch(place / "nas-sweep-linked"),
        elsewhere,
    ]
    (place / "nas-sweep-open").chmod(0o770)
    (place / "nas-sweep-new" / LOCK).unlink()
    (place / "nas-sweep-linked" / LOCK).unlink()
    (place / "nas-sweep-linked" / LOCK).symlink_to(elsewhere / LOCK)
    (place / "nas-sweep-link").symlink_to(elsewhere)
    if os.geteuid() == 0:
        kept.append(like_one_of_a_dead_launch(place / "nas-sweep-theirs"))
        os.chown(kept[-1], 65534, 65534)
    remove_dead(place)
    assert not gone.exists()
    for folder in kept:
        assert (folder / "1").is_dir(), folder
    assert (place / "nas-sweep-link").is_symlink()


def test_a_removal_that_was_cut_off_is_taken_up_again(place: Path):
    folder = like_one_of_a_dead_launch(place / "nas-sweep-dead")
    with (folder / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_dead(place)
        assert (folder / "1").is_dir(), "another launch is removing it"
    shutil.rmtree(folder / "1")
    remove_dead(place)
    assert not folder.exists()
