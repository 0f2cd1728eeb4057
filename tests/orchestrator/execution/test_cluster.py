"""Joining a Ray cluster that runs already, and private folders of launches."""

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
from contextlib import contextmanager
from pathlib import Path

import pytest
from metric_pages import served
from sweeps import launch, wait_for, write_experiment

from orchestrator.execution.cluster import (
    _DEEPEST,
    FALLBACK,
    LOCK,
    private_folder,
    remove_dead_folders,
)
from results_schema.results import Results

pytestmark = pytest.mark.timeout(400)

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5e" * 16}

HEAD = """
import ray, sys
context = ray.init("local", num_cpus=2, include_dashboard=True, _temp_dir=sys.argv[1],
                   object_store_memory=100_000_000, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@contextmanager
def running_cluster():
    """A head of its own, stopped at the end; yields its address and its folder."""
    # Ray's sockets need a short path; some of its processes outlive the head by a moment.
    own = tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)
    with (
        own as folder,
        subprocess.Popen(
            [sys.executable, "-c", HEAD, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **TOKEN},
        ) as head,
    ):
        try:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            assert address, "the head did not start"
            yield address, Path(folder)
            assert head.poll() is None, "the head was stopped"
        finally:
            head.kill()


def test_a_launch_joins_a_cluster_and_leaves_it_running(tmp_path: Path):
    experiment, store = write_experiment(tmp_path, epochs=1), tmp_path / "results"
    with running_cluster() as (address, session):
        code, output = launch(experiment, "--address", address, "--store", store, **TOKEN)
        assert code == 0, output
        told = wait_for(lambda: served(session, "ray_nas_sweep_"))
    [epochs] = told["ray_nas_sweep_epochs"].samples
    assert (epochs.value, epochs.labels["experiments"]) == (3, "small")
    assert "the value of RAY_AUTH_TOKEN" in output
    assert TOKEN["RAY_AUTH_TOKEN"] not in output
    assert len(Results(store).trials()) == 3


LAUNCH = """
import sys, time
from orchestrator.execution.cluster import private_folder
with private_folder() as folder:
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
    with pytest.raises(KeyboardInterrupt), private_folder() as folder:
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
    with private_folder() as folder:
        assert folder.parent == Path(FALLBACK)
        longest = str(folder) + _DEEPEST.removeprefix("/nas-sweep-12345678")
        with socket.socket(socket.AF_UNIX) as one:
            Path(longest).parent.mkdir(parents=True)
            one.bind(longest)


def test_a_killed_launch_is_swept_and_a_running_one_is_left_alone(place: Path):
    with launched() as (alive, kept), launched() as (dead, left):
        dead.kill()
        dead.wait()
        assert left.exists()
        with private_folder() as own:
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
    remove_dead_folders(place)
    assert not gone.exists()
    for folder in kept:
        assert (folder / "1").is_dir(), folder
    assert (place / "nas-sweep-link").is_symlink()


def test_a_removal_that_was_cut_off_is_taken_up_again(place: Path):
    folder = like_one_of_a_dead_launch(place / "nas-sweep-dead")
    with (folder / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_dead_folders(place)
        assert (folder / "1").is_dir(), "another launch is removing it"
    shutil.rmtree(folder / "1")
    remove_dead_folders(place)
    assert not folder.exists()
