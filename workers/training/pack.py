"""A pack: alike trials trained side by side on one device, each by a thread of one process.

A network of many small cells leaves most of a GPU idle; several fill it. Each trial of a pack keeps
what it has alone: lease, checkpoints, log and ending, and on a GPU a stream and CUDA graphs. They
share the device, and the images that lie on it. So one that fails, diverges, is cancelled or
superseded is nothing to its neighbours, whose results are those that they would have alone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

from results_schema.store import Store
from results_schema.trial import TrialSpec
from workers.attempt import Outcome
from workers.training.checkpoint import Row
from workers.training.failures import classify
from workers.training.loop import train
from workers.training.stopping import StopRequest


def train_pack(
    specs: Sequence[TrialSpec],
    store: Store,
    *,
    on_epoch: Callable[[TrialSpec, Row], None] = lambda spec, row: None,
    on_outcome: Callable[[TrialSpec, Outcome], None] = lambda spec, outcome: None,
    ask: Callable[[TrialSpec], str] = lambda spec: "",
    **settings: Any,
) -> list[Outcome]:
    """Trains some trials to their ends, side by side.

    Args:
        specs: The trials. What is set for a whole process, such as the precision of a GPU's
            products, they must agree on.
        store: Where their rows and checkpoints go.
        on_epoch: Told each published row of each, in the calling thread.
        on_outcome: Told how each went as soon as it has, in the calling thread.
        ask: Called for each trial once a second, by the thread that keeps its lease, and before
            it begins: returns who asks that trial to stop and why, or an empty text.
        settings: What else `loop.train` takes, the same for all.

    Returns:
        How each went, in their order.

    Raises:
        BaseException: Whatever a callback raises, or the signal that interrupts the caller, once
            every trial has left off.
    """
    outcomes: dict[int, Outcome] = {}
    news: SimpleQueue[tuple[int, Row | Outcome]] = SimpleQueue()
    stops = [StopRequest() for _ in specs]

    def work(number: int, spec: TrialSpec) -> None:
        try:
            outcome = train(
                spec,
                store,
                on_epoch=lambda row: news.put((number, row)),
                stop=stops[number],
                ask=lambda: ask(spec),
                pack_size=len(specs),
                **settings,
            )
        except BaseException as error:  # or the caller would wait for it for ever
            failure = classify(error)
            outcome = Outcome("failed", failure.message, kind=failure.kind)
        news.put((number, outcome))

    threads = [
        # A daemon, so that a caller who is interrupted a second time need not wait for it.
        threading.Thread(target=work, args=(number, spec), name=spec.trial_id, daemon=True)
        for number, spec in enumerate(specs)
    ]
    for thread in threads:
        thread.start()
    try:
        while len(outcomes) < len(specs):
            number, told = news.get()
            if isinstance(told, Outcome):
                outcomes[number] = told
                on_outcome(specs[number], told)
            else:
                on_epoch(specs[number], told)
    finally:
        for stop in stops:
            stop.make("the process that trains it ends")
        for thread in threads:
            thread.join()
    return [outcomes[number] for number in range(len(specs))]
