"""What stops a launch: signals, whose handler does next to nothing, and the loss of its Ray."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console
from small_queues import make, offer, spec
from sweeps import wait_for

from orchestrator.execution import launch as module
from orchestrator.execution.launch import (
    Supervision,
    item_takes,
    present,
    reason_to_stop,
    remaining_items,
)
from orchestrator.execution.preflight import Options
from orchestrator.planning.plan import Plan
from results_schema import layout
from results_schema.errors import MachineError
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec


class Launch:
    """A supervision of two trials that are never trained, and what it does."""

    def __init__(self, folder: Path) -> None:
        self.store, self.shown, self.dead = LocalStore(folder), io.StringIO(), ""
        self.queue = make(self.store, 2)[0]
        console = Console(file=self.shown)
        self.supervision = Supervision(self.queue, "now", console, lambda: self.dead)

    @property
    def asked(self) -> bool:
        """Whether workers are asked to stop."""
        return self.store.has(layout.stop("now"))

    def until_stopped(self) -> str:
        """Work that ends once nothing more is offered and workers were asked."""
        wait_for(lambda: self.queue.stopping and self.asked)
        return "stopped"


@pytest.fixture
def launch(tmp_path: Path) -> Launch:
    return Launch(tmp_path / "results")


def test_the_handler_takes_note_and_the_main_thread_does_the_rest(launch: Launch):
    launch.supervision.handle(signal.SIGINT, None)
    assert launch.supervision.interrupted == signal.SIGINT
    assert (launch.shown.getvalue(), launch.asked, launch.queue.stopping) == ("", False, False)
    with launch.supervision:
        assert launch.supervision.run(launch.until_stopped) == "stopped"
        assert launch.store.get(layout.stop("now")).startswith(b"SIGINT, launched by ")
        assert not launch.supervision.insisted.is_set()
    assert launch.shown.getvalue().startswith("stopping: ")
    assert not launch.asked, "the request is withdrawn"


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_stop_the_work_and_a_second_one_insists(
    launch: Launch, signum: signal.Signals, monkeypatch: pytest.MonkeyPatch
):
    left: list[bool] = []
    monkeypatch.setattr(module, "leave_terminal", lambda: left.append(True))

    def work() -> str:
        os.kill(os.getpid(), signum)
        launch.until_stopped()
        os.kill(os.getpid(), signal.SIGTERM)
        launch.supervision.insisted.wait()
        return "ended"

    before = signal.getsignal(signum)
    with launch.supervision:
        assert launch.supervision.run(work) == "ended"
    assert signal.getsignal(signum) is before
    assert bool(left) == (signum == signal.SIGHUP)


def test_a_first_signal_insists_after_the_grace(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(module, "GRACE", 0.0)
    launch = Launch(tmp_path)
    launch.supervision.handle(signal.SIGINT, None)
    with launch.supervision:
        launch.supervision.run(launch.supervision.insisted.wait)
    assert launch.shown.getvalue().count("stopping: ") == 1


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


def test_a_lost_ray_ends_work_that_is_blocked_once_workers_have_committed(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "GRACE", 1e6)
    item, name = offer(launch.queue)
    lease = launch.store.leases.take(name, item.token)
    assert lease is not None
    blocked = threading.Event()

    def work() -> None:
        launch.dead = "gcs_server"
        wait_for(lambda: launch.asked)
        lease.release()
        blocked.wait()

    with pytest.raises(MachineError, match="gcs_server"), launch.supervision:
        launch.supervision.run(work)
    blocked.set()
    assert launch.queue.stopping
    assert launch.store.leases.held() == {}


def test_an_error_of_the_work_is_raised(launch: Launch):
    with pytest.raises(ZeroDivisionError):
        launch.supervision.run(lambda: 1 / 0)


def test_a_launch_is_present_in_its_store_until_it_ends(launch: Launch, monkeypatch):
    monkeypatch.setattr(module, "RENEWAL", 0.01)
    key = layout.launch("now")
    with present(launch.store, "now"):
        assert launch.store.has(key)
        launch.store.delete(key)
        wait_for(lambda: launch.store.has(key))  # it is renewed
    assert not launch.store.has(key)


@pytest.mark.parametrize(
    ("options", "trial", "surface"),
    [
        (Options(device="cpu"), {"CPU": 1}, {"CPU": 1}),
        (Options(device="cpu", pack=3), {"CPU": 3}, {"CPU": 3}),
        (Options(device="cuda"), {"CPU": 1, "GPU": 1}, {"CPU": 1, "GPU": 1}),
        (
            Options(device="cuda", gpus_per_trial=0.5, gpus_per_surface=0.25),
            {"CPU": 1, "GPU": 0.5},
            {"CPU": 1, "GPU": 0.25},
        ),
        (
            Options(device="cuda", gpus_per_trial="auto", pack=3),
            {"CPU": 1, "GPU": 1},
            {"CPU": 1, "GPU": 1},
        ),
    ],
)
def test_an_item_takes_what_the_options_say(options, trial, surface):
    assert item_takes(options, surface=False) == trial
    assert item_takes(options, surface=True) == surface


def test_an_autoscaler_is_to_place_what_could_run_now(tmp_path):
    queue = make(LocalStore(tmp_path), 0)[0]
    trials = {spec(seed).trial_id: spec(seed) for seed in range(5)}
    surfaces = [SurfaceSpec(spec(seed), 1, "contour") for seed in (0, 1, 9)]
    plan = Plan({}, [], [], {"x": surfaces}, [])
    vars(plan)["remaining"] = [*trials.values()]
    queue.pack = 2
    assert remaining_items(plan, queue) == (3, 1), "one surface's trial ended in another launch"
    queue.endings |= {spec(0).trial_id: "done", spec(1).trial_id: "failed"}
    queue.endings |= {surfaces[1].surface_id: "untrained"}
    assert remaining_items(plan, queue) == (2, 2)


def test_a_launch_stops_by_itself_after_its_hours_or_a_failure(tmp_path: Path):
    launch = Launch(tmp_path / "results")
    options = Options(max_hours=0.5, fail_fast=True)
    now = time.monotonic()
    assert reason_to_stop(options, launch.queue, now) == ""
    assert reason_to_stop(options, launch.queue, now - 1800) == "--max-hours 0.5 have passed"
    launch.queue.reasons["a"] = "no memory"
    assert reason_to_stop(options, launch.queue, now) == "--fail-fast: a failed"
    assert reason_to_stop(Options(), launch.queue, now - 1801) == ""
    over = partial(reason_to_stop, options, launch.queue, now)
    console = Console(file=launch.shown)
    with Supervision(launch.queue, "now", console, lambda: "", over) as supervision:
        assert supervision.run(launch.until_stopped) == "stopped"
    assert (supervision.over, supervision.interrupted) == ("--fail-fast: a failed", 0)
    assert "stopping, as --fail-fast" in launch.shown.getvalue()
