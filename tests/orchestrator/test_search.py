"""The queue as Tune sees it."""

import io

import pytest
from rich.console import Console
from small_queues import make, spec

from orchestrator import search
from orchestrator.metrics import Meter
from orchestrator.progress import Progress
from orchestrator.readings import Watch
from orchestrator.search import AHEAD, QueueSearcher
from results_schema.store import LocalStore


class Sweep:
    """A searcher of some trials on a cluster whose room a test sets."""

    def __init__(self, folder, count: int) -> None:
        self.queue, _ = make(LocalStore(folder), count)
        self.room, self.looks = 1, 0
        work = {spec(seed).trial_id: spec(seed) for seed in range(count)}
        self.progress = Progress(
            self.queue, work, ended=(0, 0), slots=1, console=Console(file=io.StringIO())
        )
        meter = Meter(Watch(self.queue, work, self.progress), "now", ["small"])
        self.searcher = QueueSearcher(self.queue, {}, self.progress, meter, self.slots)

    def slots(self) -> int:
        self.looks += 1
        return self.room


@pytest.fixture
def sweep(tmp_path) -> Sweep:
    return Sweep(tmp_path, 8)


def test_no_more_is_offered_than_fits_and_the_head_is_asked_now_and_then(sweep, monkeypatch):
    offered = [sweep.searcher.suggest(f"t{number}") for number in range(50)]
    assert sum(item is not None for item in offered) == 1 + AHEAD
    assert sweep.looks <= 3, "not once a question"
    sweep.room = 3  # nodes have joined
    monkeypatch.setattr(search, "LOOK_EVERY", 0.0)
    sweep.searcher._look_again = 0.0
    offered = [sweep.searcher.suggest(f"u{number}") for number in range(50)]
    assert sum(item is not None for item in offered) == 2


def test_the_last_epoch_may_come_with_the_outcome(sweep):
    item = sweep.searcher.suggest("t")
    (name,) = item["names"]
    outcome = {"status": "done", "reason": "trained 1 epochs", "epochs": 1, "kind": ""}
    sweep.searcher.on_trial_result("t", {"item": name, "epoch": 1, **outcome})
    assert sweep.queue.endings == {name: "done"}
    assert next(iter(sweep.progress._tasks.values())).taken == 1
    sweep.searcher.on_trial_complete("t", {"item": name, "epoch": 1, **outcome, "done": True})
    assert sweep.queue.items == 0
    assert next(iter(sweep.progress._tasks.values())).taken == 1, "Tune tells the last report twice"


def test_when_all_is_over_tune_is_told(sweep):
    assert sweep.searcher.suggest("t") != QueueSearcher.FINISHED
    sweep.queue.stop()
    assert sweep.searcher.suggest("u") == QueueSearcher.FINISHED
