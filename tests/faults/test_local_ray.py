"""Ray that a launch starts itself: kept from other users, without credentials, killed, and late."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import stat
import threading
from collections import Counter
from pathlib import Path

import psutil
import pytest
from canaries import CANARY, SECRETS, hits, regular_files
from disturbing import OPTIONS, foreign, held_open
from families import Family, family
from soundness import assert_equal, assert_sound
from sweeps import launch, trained_epochs, undisturbed, wait_for, write_experiment

from orchestrator.config.experiment import load_experiment
from results_schema.store import LocalStore, open_store
from workers.training import checkpoint

pytestmark = pytest.mark.timeout(1200)

EPOCHS = 12
START = 500
"""Seconds that a busy machine may take until the first trial trains."""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_experiment(tmp_path_factory.mktemp("local"), epochs=EPOCHS)


@pytest.fixture(scope="module")
def reference(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return undisturbed(experiment, tmp_path_factory.mktemp("reference") / "results")


def committed(store: LocalStore, experiment: Path) -> int:
    ids = [member.spec.trial_id for member in load_experiment(experiment).members()]
    return sum(max(checkpoint.epochs(store, name), default=0) for name in ids)


def part(launched: Family, name: str) -> psutil.Process | None:
    """A process of Ray that a launch has started, once it runs."""
    for process in launched.alive():
        with contextlib.suppress(psutil.Error):
            if name in process.name() or any(name in word for word in process.cmdline()[:4]):
                return process
    return None


def errors(output: str) -> list[str]:
    """Lines that say that a command has failed, of a command that printed no traceback."""
    assert "Traceback" not in output, output
    return [line for line in output.splitlines() if line.startswith("error: ")]


def test_no_other_user_reaches_ray_and_no_file_of_it_has_a_credential(
    experiment: Path, tmp_path: Path
):
    store = open_store(tmp_path / "results")
    with (
        held_open(experiment, store),
        family("launch", experiment, *OPTIONS, "--store", store.root, **SECRETS) as launched,
    ):
        [worker, *_] = wait_for(lambda: foreign(store), START)
        searched = {path.name for path in regular_files(launched.folder)}
        assert {"gcs_server.out", "raylet.out", "runtime_env_agent.log"} <= searched
        assert list(hits(launched.folder)) == []
        words = " ".join(word for process in launched.alive() for word in process.cmdline())
        assert CANARY not in words
        folders = list(launched.folder.iterdir())
        assert any(path.is_socket() for path in launched.folder.rglob("sockets/*"))
        assert {stat.S_IMODE(folder.lstat().st_mode) for folder in folders} == {0o700}
        temporary = Path(psutil.Process(worker).environ()["TMPDIR"])
        assert any(temporary.is_relative_to(folder) for folder in folders)


@pytest.mark.parametrize("name", ["gcs_server", pytest.param("raylet", marks=pytest.mark.long)])
def test_a_launch_whose_ray_is_killed_commits_and_ends_with_one_line(
    name: str, experiment: Path, reference: LocalStore, tmp_path: Path, tally: Counter[str]
):
    store = open_store(tmp_path / "results")
    with (
        held_open(experiment, store),
        family("launch", experiment, *OPTIONS, "--store", store.root) as launched,
    ):
        wait_for(lambda: trained_epochs(store) > 3, START)
        launched.look()
        killed = part(launched, name)
        assert killed is not None
        killed.kill()
        output, _ = launched.head.communicate(timeout=300)
        assert launched.head.returncode == 3, output
        assert launched.leftovers() == []
    [line] = errors(output)
    assert name in line
    # Ray prints a remark of its own on a raylet that it lost, whatever is asked of its logs.
    assert name == "raylet" or "raylet)" not in output, "Ray's own lines"
    assert committed(store, experiment) == trained_epochs(store)
    assert_sound(store, reference)
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)
    tally[f"{name} killed"] += 1


def test_a_ray_that_does_not_start_in_time_is_an_error_of_the_machine(
    experiment: Path, tmp_path: Path
):
    slow = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "0"}  # as on a machine that is too busy
    options = ("--device", "cpu", "--store", tmp_path / "results")
    with family("launch", experiment, *options, **slow) as launched:
        output, _ = launched.head.communicate(timeout=600)
        assert launched.head.returncode == 3, output
        [line] = errors(output)
        assert "Ray can't be started" in line
        assert "twice" in line
        assert launched.leftovers() == []


@pytest.mark.long
@pytest.mark.parametrize("name", ["dashboard.py", "gcs_server"])
def test_ray_is_started_again_if_a_part_of_it_dies_while_it_starts(
    name: str, experiment: Path, tmp_path: Path
):
    store = open_store(tmp_path / "results")
    options = ("--device", "cpu", "--store", store.root)
    with family("launch", experiment, *options) as launched:
        killed = wait_for(lambda: part(launched, name))
        assert killed is not None
        killed.kill()
        output, _ = launched.head.communicate(timeout=300)
        assert launched.head.returncode == 0, output
        assert "Traceback" not in output
        assert launched.leftovers() == []
    assert trained_epochs(store) == 3 * EPOCHS


class Terminal:
    """A terminal window, whose output is read until it is closed.

    Attributes:
        name: To start a command in it.
    """

    def __init__(self) -> None:
        self._ours, inside = pty.openpty()
        self.name = os.ttyname(inside)
        self._inside = inside
        self._closing, self.output = threading.Event(), b""
        self._reader = threading.Thread(target=self._read, daemon=True)

    def watch(self) -> None:
        """Leaves the inner end to the command that has it by now."""
        os.close(self._inside)
        self._reader.start()

    def close(self) -> None:
        """Takes the terminal away from the command."""
        self._closing.set()
        self._reader.join()
        os.close(self._ours)

    def _read(self) -> None:
        while not self._closing.is_set():
            if select.select([self._ours], [], [], 0.1)[0]:
                with contextlib.suppress(OSError):
                    self.output += os.read(self._ours, 4096)


@pytest.mark.parametrize("whole_group", [False, pytest.param(True, marks=pytest.mark.long)])
def test_a_launch_whose_terminal_is_closed_commits_and_ends(
    whole_group: bool, experiment: Path, tmp_path: Path
):
    store, terminal = open_store(tmp_path / "results"), Terminal()
    command = ("launch", experiment, *OPTIONS, "--store", store.root)
    with (
        held_open(experiment, store),
        family(*command, terminal=terminal.name) as launched,
    ):
        terminal.watch()
        wait_for(lambda: trained_epochs(store) > 3, START)
        launched.look()
        assert b"running" in terminal.output
        terminal.close()  # the kernel sends SIGHUP to the launch
        if whole_group:  # and a shell that ends sends it to all processes of the command
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launched.head.pid, signal.SIGHUP)
        assert launched.head.wait(timeout=300) == 130
        wait_for(lambda: not launched.leftovers(), 300)
    assert committed(store, experiment) == trained_epochs(store)
    code, output = launch(experiment, "--store", store.root)
    assert code == 0, output
    assert trained_epochs(store) == 3 * EPOCHS
