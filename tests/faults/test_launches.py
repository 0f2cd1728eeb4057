"""Real launches that are killed, signalled and cut off: nothing is left behind, nothing is lost."""

from __future__ import annotations

import contextlib
import os
import pty
import random
import select
import signal
import stat
import threading
import time
from pathlib import Path

import psutil
import pytest
from canaries import CANARY, SECRETS, hits, regular_files
from disturbing import OPTIONS, foreign, held_open
from families import Family, family
from soundness import Reader, assert_equal, assert_sound
from sweeps import Pace, launch, trained_epochs, undisturbed, wait_for
from sweeps import write_experiment as write

from orchestrator.config.experiment import load_experiment
from results_schema import layout
from results_schema.store import LocalStore
from workers.training import checkpoint

pytestmark = [pytest.mark.timeout(1200), pytest.mark.ray]

EPOCHS, TRIALS = 10, 4
START = 500
"""Seconds that a busy machine may take until the first trial trains."""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("launches"), epochs=EPOCHS, seeds="0, 1, 2, 3")


@pytest.fixture(scope="module")
def reference(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return undisturbed(experiment, tmp_path_factory.mktemp("reference") / "results")


def assert_it_ends_well(experiment: Path, store: LocalStore, reference: LocalStore) -> None:
    """Launches it again."""
    code, output = launch(experiment, *OPTIONS[2:], "--store", store.root)
    assert code == 0, output
    assert_equal(store, reference)


def assert_committed(experiment: Path, store: LocalStore) -> None:
    """Every epoch of the live table is in a checkpoint."""
    ids = [member.spec.trial_id for member in load_experiment(experiment).members()]
    committed = sum(max(checkpoint.epochs(store, name), default=0) for name in ids)
    assert committed == trained_epochs(store)


def ended(store: LocalStore) -> int:
    return len(layout.names(store.list(layout.TRIALS)))


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM], ids=lambda s: s.name)
def test_a_launch_that_is_ended_again_and_again_continues(
    store: LocalStore, experiment: Path, reference: LocalStore, signum: signal.Signals, seed: int
):
    draws, command = random.Random(seed), ("launch", experiment, *OPTIONS, "--store", store.root)
    with Reader(store, reference) as reader, contextlib.ExitStack() as families:
        with held_open(experiment, store):
            for _ in range(5):
                launched = families.enter_context(family(*command))
                if draws.random() < 0.8:
                    wait_for(lambda: foreign(store) or ended(store) == TRIALS - 1, START)
                    time.sleep(draws.uniform(0, 1.5))
                else:  # while Ray starts
                    time.sleep(draws.uniform(0, 6))
                assert launched.head.poll() is None
                launched.look()
                launched.head.send_signal(signum)
                if signum == signal.SIGTERM:
                    launched.head.communicate(timeout=300)
                    wait_for(lambda launched=launched: not launched.leftovers(), 300)
                else:
                    launched.head.wait()
                    if draws.random() < 0.5:  # else the next one comes while orphans still train
                        wait_for(lambda: not foreign(store))
                assert_sound(store, reference)
        assert_it_ends_well(experiment, store, reference)
    assert reader.wrong == []


# Ray that a launch starts itself


def part(launched: Family, name: str) -> psutil.Process | None:
    """A process of Ray that a launch has started, once it runs."""
    for process in launched.alive():
        with contextlib.suppress(psutil.Error):
            if name in process.name() or any(name in word for word in process.cmdline()[:4]):
                return process
    return None


def the_error(launched: Family) -> str:
    """The one line with which a launch ends whose Ray failed, and leaves nothing."""
    output, _ = launched.head.communicate(timeout=600)
    assert launched.head.returncode == 3, output
    assert launched.leftovers() == []
    assert "Traceback" not in output, output
    [line] = [line for line in output.splitlines() if line.startswith("error: ")]
    return line


def test_no_other_user_reaches_ray_and_no_file_and_no_output_has_a_credential(
    experiment: Path, store: LocalStore, tmp_path: Path
):
    pace = Pace(tmp_path)
    command = ("launch", experiment, *OPTIONS, "--store", store.root)
    with family(*command, **pace.environment, **SECRETS) as launched:
        with pace.held_after(1):
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
        output, _ = launched.head.communicate(timeout=START)
    assert launched.head.returncode == 0, output
    assert "the value of RAY_AUTH_TOKEN" in output
    assert CANARY not in output
    assert (store.root / "reports/small/index.html").exists()
    assert list(hits(store.root)) == []


@pytest.mark.parametrize("name", ["gcs_server", pytest.param("raylet", marks=pytest.mark.long)])
def test_a_launch_whose_ray_is_killed_commits_and_ends_with_one_line(
    name: str, experiment: Path, reference: LocalStore, store: LocalStore
):
    with (
        held_open(experiment, store),
        family("launch", experiment, *OPTIONS, "--store", store.root) as launched,
    ):
        wait_for(lambda: trained_epochs(store) > 3, START)
        launched.look()
        killed = part(launched, name)
        assert killed is not None
        killed.kill()
        assert name in the_error(launched)
    assert_committed(experiment, store)
    assert_sound(store, reference)
    assert_it_ends_well(experiment, store, reference)


def test_a_ray_that_does_not_start_in_time_is_an_error_of_the_machine(
    experiment: Path, store: LocalStore
):
    slow = {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "0"}  # as on a machine that is too busy
    command = ("launch", experiment, "--device", "cpu", "--store", store.root)
    with family(*command, **slow) as launched:
        line = the_error(launched)
        assert "Ray can't be started" in line
        assert "twice" in line


class Terminal:
    """A terminal window, whose output is read until it is closed; `name` is where to start in."""

    def __init__(self) -> None:
        self._ours, self._inside = pty.openpty()
        self.name = os.ttyname(self._inside)
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
    whole_group: bool, experiment: Path, reference: LocalStore, store: LocalStore
):
    terminal = Terminal()
    command = ("launch", experiment, *OPTIONS, "--store", store.root)
    with held_open(experiment, store), family(*command, terminal=terminal.name) as launched:
        terminal.watch()
        wait_for(lambda: trained_epochs(store) > 3, START)
        launched.look()
        assert b"running" in terminal.output
        terminal.close()  # the kernel sends SIGHUP to the launch
        if whole_group:  # and a shell that ends sends it to all processes of the command
            with contextlib.suppress(ProcessLookupError):
                os.killpg(launched.head.pid, signal.SIGHUP)
        assert launched.head.wait(timeout=300) == 129
        wait_for(lambda: not launched.leftovers(), 300)
    assert_committed(experiment, store)
    assert_it_ends_well(experiment, store, reference)
