"""Ray started here or joined elsewhere, its processes, and private folders of launches."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayError
from ray_heads import TOKEN
from rich.console import Console
from sweeps import wait_for

from orchestrator.execution import cluster as module
from orchestrator.execution.cluster import (
    _DEEPEST,
    FALLBACK,
    LOCK,
    MAX_BUNDLES,
    Demand,
    Joined,
    cluster,
    has_gpus,
    private_folder,
    remove_dead_folders,
)
from results_schema.errors import Interrupted, MachineError, exit_code


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short folder for temporary files."""
    with tempfile.TemporaryDirectory(prefix="ns", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr(tempfile, "tempdir", None)
        yield Path(folder)


class Rays:
    """Ray in its own place: what it is started with, and how often that fails first."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.started: list[dict[str, Any]] = []
        self.failures: list[BaseException] = []
        self.ended = 0
        monkeypatch.setattr(ray, "init", self.init)
        monkeypatch.setattr(ray, "shutdown", self.shutdown)
        head = SimpleNamespace(gcs_address="h:6379")
        monkeypatch.setattr(ray, "get_runtime_context", lambda: head)
        monkeypatch.setattr(module.access, "asks_for_token", lambda head: True)
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        monkeypatch.delenv("RAY_AUTH_MODE", raising=False)

    def init(self, address: str, **settings: Any) -> Any:
        handlers = [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGHUP)]
        masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
        self.started.append(
            settings
            | {"address": address, "TMPDIR": os.environ.get("TMPDIR"), "masked": masked}
            | {"unwound": all(one == Interrupted.handle for one in handlers)}
        )
        if self.failures:
            raise self.failures.pop(0)
        return SimpleNamespace(dashboard_url="127.0.0.1:8265")

    def shutdown(self) -> None:
        self.ended += 1


@pytest.fixture
def rays(monkeypatch: pytest.MonkeyPatch, place: Path) -> Rays:
    return Rays(monkeypatch)


@contextmanager
def joined(address: str | None = None, **options: bool) -> Iterator[tuple[Joined, io.StringIO]]:
    shown = io.StringIO()
    with cluster(address, Console(file=shown, width=200), **options) as found:
        yield found, shown


def test_ray_is_started_twice_in_a_private_folder_and_ended(rays: Rays, place: Path, monkeypatch):
    before = signal.getsignal(signal.SIGTERM)
    rays.failures = [RuntimeError("overloaded")]
    with joined() as (found, shown):
        first, second = rays.started
        assert found.folder.parent == place
        assert Path(first["_temp_dir"]).parent == found.folder
        assert first["_temp_dir"] != second["_temp_dir"]
        assert (second["address"], second["include_dashboard"]) == ("local", True)
        assert second["TMPDIR"] == str(found.folder / "tmp")
        assert second["unwound"], "signals leave nothing behind"
        assert signal.SIGHUP in second["masked"]
        assert os.environ["TMPDIR"] == str(place)
        assert (signal.getsignal(signal.SIGTERM), found.lost()) == (before, "")
        assert "http://127.0.0.1:8265" in shown.getvalue()
        assert "the value of RAY_AUTH_TOKEN" in shown.getvalue()
        assert TOKEN not in shown.getvalue()
        assert rays.ended == 1, "of the start that failed"
        assert signal.SIGHUP not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert (rays.ended, list(place.iterdir())) == (2, [])
    monkeypatch.delenv("TMPDIR")
    rays.failures = [RuntimeError("first"), RuntimeError("overloaded\nno memory")]
    with pytest.raises(MachineError, match="tried twice: no memory"), joined():
        pass
    assert ("TMPDIR" in os.environ, list(place.iterdir())) == (False, [])


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(15)])  # Ray's own handler's
def test_a_signal_while_ray_starts_unwinds_at_once(rays: Rays, place: Path, error: BaseException):
    rays.failures = [error]
    with pytest.raises(KeyboardInterrupt) as caught, joined():
        pass
    assert exit_code(caught.value) == (143 if isinstance(error, SystemExit) else 130)
    assert (len(rays.started), rays.ended, list(place.iterdir())) == (1, 2, [])


def test_a_cluster_is_joined_with_its_token_and_this_code_where_it_is_sent(rays: Rays, monkeypatch):
    with joined("h:6379", ship_code=True) as (found, _):
        [given] = rays.started
        assert given["address"] == "h:6379"
        sent = Path(given["runtime_env"]["working_dir"])
        assert (sent / "orchestrator/execution/trainable.py").exists()
        assert sent.parent == found.folder
    assert rays.ended == 1
    with joined("h:6379"):
        assert "runtime_env" not in rays.started[-1]
    rays.failures = [ConnectionError("no route")]
    with pytest.raises(MachineError, match="h:6379: Ray can't be reached: no route"):
        joined("h:6379").__enter__()
    monkeypatch.setattr(module.access, "asks_for_token", lambda head: False)
    with pytest.raises(MachineError, match="--address h:6379: the cluster asks for no token"):
        joined("h:6379").__enter__()
    with joined("h:6379", allow_open=True):
        pass
    assert rays.ended == 5


def test_processes_of_a_ray_are_known_by_their_folder_and_killed(tmp_path: Path):
    own = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    shell = ["sh", "-c", "env -u TMPDIR sleep 60 & wait"]
    with subprocess.Popen(shell, env=own) as ours, subprocess.Popen(["sleep", "60"]) as other:
        children = wait_for(psutil.Process(ours.pid).children)
        assert {one.pid for one in module._processes(tmp_path)} == {ours.pid, children[0].pid}
        vital = Joined(tmp_path, {"raylet": psutil.Process(ours.pid)})
        assert vital.lost() == ""
        module._end_processes(tmp_path)
        ended = [*vital.vital.values(), children[0]]
        alive = [*map(module._alive, ended), other.poll() is None]
        other.kill()
    assert (alive, vital.lost()) == ([False, False, True], "raylet")


def test_an_autoscaler_is_asked_when_something_changed_and_for_nothing_in_the_end(monkeypatch):
    asked: list[int] = []
    fail = True

    def request(bundles: list[dict[str, float]]) -> None:
        if fail:
            raise RayError("the head is lost")
        asked.append(len(bundles))

    monkeypatch.setattr(module, "request_resources", request)
    with Demand() as demand:
        demand.ask([{"CPU": 1.0}])
        fail = False
        for number in (1, 1, 2, 2 * MAX_BUNDLES):
            demand.ask([{"CPU": 1.0}] * number)
    assert asked == [1, 2, MAX_BUNDLES, 0]
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 2.0})
    assert not has_gpus()
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"GPU": 1.0})
    assert has_gpus()


def test_a_folder_is_closed_to_others_and_gone_at_the_end(place: Path):
    with pytest.raises(KeyboardInterrupt), private_folder() as folder:
        assert folder.parent == place
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "file").touch()
        (folder / "1/logs").mkdir(parents=True)
        (folder / "1/latest").symlink_to(folder / "1/logs")
        # Another launch leaves it alone, and removes what a dead one has left.
        dead = of_a_dead_launch(place / "nas-sweep-dead")
        with private_folder() as other:
            assert sorted(place.iterdir()) == sorted([folder, other])
        assert ((folder / "1/logs").is_dir(), dead.exists()) == (True, False)
        raise KeyboardInterrupt
    assert list(place.iterdir()) == []


def test_where_sockets_would_have_too_long_paths_another_place_is_taken(place: Path, monkeypatch):
    deep = place / ("x" * 40)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with private_folder() as folder:
        assert folder.parent == Path(FALLBACK)
        longest = str(folder) + _DEEPEST.removeprefix("/nas-sweep-12345678")
        with socket.socket(socket.AF_UNIX) as one:
            Path(longest).parent.mkdir(parents=True)
            one.bind(longest)


def of_a_dead_launch(folder: Path, host: str = "") -> Path:
    folder.mkdir(mode=0o700, parents=True)
    (folder / LOCK).write_text(host or socket.gethostname())
    (folder / "1").mkdir()
    return folder


def test_only_what_is_surely_of_a_dead_launch_is_removed(place: Path, tmp_path: Path):
    gone = of_a_dead_launch(place / "nas-sweep-dead")
    elsewhere = of_a_dead_launch(tmp_path / "nas-sweep-target")
    names = ("another-name", "nas-sweep-open", "nas-sweep-new", "nas-sweep-linked")
    kept = [elsewhere, *(of_a_dead_launch(place / name) for name in names)]
    kept.append(of_a_dead_launch(place / "nas-sweep-host", host="another host"))
    (place / "nas-sweep-open").chmod(0o770)
    (place / "nas-sweep-new" / LOCK).unlink()
    (place / "nas-sweep-linked" / LOCK).unlink()
    (place / "nas-sweep-linked" / LOCK).symlink_to(elsewhere / LOCK)
    (place / "nas-sweep-link").symlink_to(elsewhere)
    if os.geteuid() == 0:
        kept.append(of_a_dead_launch(place / "nas-sweep-theirs"))
        os.chown(kept[-1], 65534, 65534)
    remove_dead_folders(place)
    assert not gone.exists()
    for folder in kept:
        assert (folder / "1").is_dir(), folder
    assert (place / "nas-sweep-link").is_symlink()


def test_a_removal_that_was_cut_off_is_repeated(place: Path):
    folder = of_a_dead_launch(place / "nas-sweep-dead")
    with (folder / LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        remove_dead_folders(place)
        assert (folder / "1").is_dir(), "another launch is removing it"
    shutil.rmtree(folder / "1")
    remove_dead_folders(place)
    assert not folder.exists()
