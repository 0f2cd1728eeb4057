"""Cancelled trials stop, keep what they trained, and resume when launched again."""

import getpass
import socket
from pathlib import Path
from typing import Any

from items import sent
from small_stores import contents, shown_counts
from small_trials import few_digits, log, small_spec
from stops import wait_until_made

from orchestrator.execution.launch import ask_to_stop
from orchestrator.execution.queue import Queue
from orchestrator.execution.trainable import train_item
from orchestrator.housekeeping.cancel import cancel, withdraw
from orchestrator.housekeeping.lookup import cancelled
from results_schema import layout
from results_schema.store import open_store
from workers.training import checkpoint, trial


def test_requests_are_left_for_what_has_not_ended(run, trained):
    one, two, three = trained.ids
    trained.cut_off(one)
    trained.cut_off(two)
    trained.held_elsewhere(two)
    code, output, _ = run("cancel", "small.yaml")
    assert code == 0
    assert f"{two} stops on node7" in output
    assert "2 trials cancelled" in output
    assert cancelled(trained.store) == {one, two}
    assert shown_counts(run("status")[1]) == {"done": 1, "running": 1, "cancelled": 1}
    assert trained.store.has(layout.trial(three))


def test_what_has_ended_is_refused(run, trained):
    before = contents(trained.store)
    code, _, errors = run("cancel", "small")
    assert (code, "Traceback" in errors) == (2, False)
    assert contents(trained.store) == before


def test_only_the_requests_for_what_is_launched_are_taken_back(trained):
    one, two, _ = trained.ids
    for key in (layout.cancel(one), layout.cancel(two), layout.stop("launch")):
        trained.store.put(key, b"")
    withdraw(trained.store, [one, "unheard-of"])
    assert cancelled(trained.store) == {two}
    assert trained.store.has(layout.stop("launch"))


WHO = f"{getpass.getuser()} on {socket.gethostname()}"


def train_until(monkeypatch, store, spec, epoch: int, ask, token: str = "") -> None:
    """Train an item whose worker finds a request to stop in an epoch."""
    train_epoch = trial.train_epoch

    def asked_in_the_epoch(*arguments: Any) -> Any:
        _, now, *_, stopping = arguments
        if now == epoch:
            ask()
            wait_until_made(stopping.request)
        return train_epoch(*arguments)

    monkeypatch.setattr(trial, "train_epoch", asked_in_the_epoch)
    with few_digits():
        train_item(sent(store.location, spec, **({"token": token} if token else {})))


def test_a_worker_commits_its_epochs_says_who_stopped_it_and_the_queue_lets_go(
    tmp_path: Path, monkeypatch
):
    store, spec = open_store(tmp_path / "results"), small_spec(epochs=5)
    store.put(layout.launch("now"), b"")
    queue = Queue(store)
    queue.add([spec])
    item = queue.offer()
    assert item is not None

    def report(result: dict[str, Any]) -> None:
        if "status" in result:
            reported = (result["item"], result["status"], result["reason"], result["kind"])
            queue.settle(item.token, *reported)

    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", report)
    train_until(monkeypatch, store, spec, 4, lambda: cancel(store, [spec.trial_id]), item.token)
    queue.close(item.token)
    assert queue.offer() is None
    assert queue.endings == {spec.trial_id: "cancelled"}
    assert checkpoint.epochs(store, spec.trial_id) == [3]
    assert store.leases.held() == {}
    why = f"stopped after epoch 3 of 5: {spec.trial_id} is cancelled (by {WHO})"
    assert log(store, spec).splitlines()[-1].endswith(why)


def test_the_log_says_which_signal_stopped_a_launch_and_who_runs_it(tmp_path: Path, monkeypatch):
    store, spec = open_store(tmp_path / "results"), small_spec()
    store.put(layout.launch("now"), b"")
    monkeypatch.setattr("orchestrator.execution.trainable.tune.report", lambda result: None)
    train_until(monkeypatch, store, spec, 2, lambda: ask_to_stop(store, "now", "SIGTERM"))
    why = f"stopped after epoch 1 of 3: its launch stops (SIGTERM, launched by {WHO})"
    assert log(store, spec).splitlines()[-1].endswith(why)
