"""Two launches at once, each a process that works off the same trials through a queue of its own.

It does what `launch` does, without Ray: offered, trained, settled, one trial after the other.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier

from small_trials import COMMIT_ALL, few_digits

from orchestrator.execution.queue import Queue
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train

Told = tuple[int, dict[str, str]]
"""How many epochs a launch trained, and how it saw each trial end."""


def launch(
    root: str, specs: Sequence[TrialSpec], seed: int, start: Barrier, answer: Connection
) -> None:
    """Works off the trials, and answers what came of it."""
    draws, epochs = random.Random(seed), 0
    store = open_store(root)
    queue = Queue(store)
    queue.add(specs)
    with few_digits():
        start.wait(60)
        time.sleep(draws.uniform(0, 0.02))
        while not queue.over:
            item = queue.offer()
            if item is None:
                time.sleep(0.005)
                continue
            [spec] = item.pack
            assert isinstance(spec, TrialSpec)
            outcome = train(spec, store, device="cpu", token=item.token, checkpointing=COMMIT_ALL)
            epochs += outcome.epochs
            queue.settle(item.token, spec.trial_id, outcome.status, outcome.reason, outcome.kind)
            queue.close(item.token)
    answer.send((epochs, queue.endings))


def race(store: LocalStore, specs: Sequence[TrialSpec], seed: int, number: int = 2) -> list[Told]:
    """Several launches, started at the same moment; what each tells."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["pandas", "pytest", "workers.training.trial", "racing"])
    start, draws = processes.Barrier(number), random.Random(seed)
    ends, running = [], []
    for _ in range(number):
        hear, tell = processes.Pipe(duplex=False)
        order = draws.sample(specs, len(specs)) if draws.random() < 0.5 else list(specs)
        arguments = (str(store.root), order, draws.random(), start, tell)
        running.append(processes.Process(target=launch, args=arguments))
        running[-1].start()
        tell.close()
        ends.append(hear)
    told = [end.recv() for end in ends]
    for process in running:
        process.join(60)
    return told
