"""Queues of trials that are never trained, under a clock that tests set."""

from __future__ import annotations

from clocks import Clock

from orchestrator.execution.queue import Item, Queue
from results_schema.store import LocalStore
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def spec(seed: int) -> TrialSpec:
    return TrialSpec(named("DARTS"), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=1), 0.025, seed)


def make(store: LocalStore, count: int) -> tuple[Queue, Clock]:
    clock = Clock()
    queue = Queue(store, clock)
    queue.add([spec(seed) for seed in range(count)])
    return queue, clock


def offer(queue: Queue) -> tuple[Item, str]:
    item = queue.offer()
    assert item is not None
    return item, item.names[0]
