"""What stops a launch: signals, whose handler does next to nothing, and the loss of its Ray."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console
from small_queues import make

from orchestrator.execution.launch import Supervision
from orchestrator.execution.queue import Queue
from results_schema import layout
from results_schema.errors import MachineError
from results_schema.store import LocalStore


class Launch:
    """A supervision of two trials that are never trained, and what it does."""

    def __init__(self, folder: Path) -> None:
        self.store = LocalStore(folder)
        self.queue: Queue = make(self.store, 2)[0]
        self.said, self.dead = io.StringIO(), ""
        self.supervision = Supervision(
            self.queue, "now", Console(file=self.said), lambda: self.dead
        )
        self.insisted = self.supervision.insisted

    @property
    def asked(self) -> bool:
        """Whether workers are asked to stop."""
        return self.store.has(layout.stop("now"))

    def until_stopped(self) -> str:
        """Work that ends once nothing more is offered and workers were asked."""
        while not (self.queue.stopping and self.asked):
            time.sleep(0.01)
        return "stopped"


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(tmp_path / "results")


def test_the_handler_takes_note_and_the_main_thread_does_the_rest(launch: Launch):
    launch.supervision.handle(signal.SIGINT, None)
    assert launch.supervision.interrupted
    assert launch.said.getvalue() == ""
    assert not launch.asked
    assert not launch.queue.stopping
    with launch.supervision:
        assert launch.supervision.run(launch.until_stopped) == "stopped"
    assert launch.said.getvalue().startswith("stopping: ")
    assert not launch.asked


@pytest.mark.usefixtures("capfd")  # SIGHUP takes a terminal away from this process too
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_the_work_and_a_second_one_insists(launch: Launch, signum: signal.Signals):
    def work() -> str:
        os.kill(os.getpid(), signum)
        launch.until_stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        launch.insisted.wait()
        return "ended"

    before = signal.getsignal(signum)
    with launch.supervision:
        assert launch.supervision.run(work) == "ended"
    assert signal.getsignal(signum) is before


def test_a_hangup_that_was_ignored_stays_ignored_and_no_other_signal(launch: Launch):
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does in the background
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with launch.supervision:
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            for taken in (signal.SIGTERM, signal.SIGINT):
                assert signal.getsignal(taken) == launch.supervision.handle
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGINT, interrupt)


def test_a_lost_ray_ends_work_that_is_blocked(launch: Launch):
    blocked = threading.Event()

    def work() -> None:
        launch.dead = "gcs_server"
        blocked.wait()

    with pytest.raises(MachineError, match="gcs_server"), launch.supervision:
        launch.supervision.run(work)
    blocked.set()
    assert launch.queue.stopping


def test_an_error_of_the_work_is_raised(launch: Launch):
    with pytest.raises(ZeroDivisionError):
        launch.supervision.run(lambda: 1 / 0)
