"""Processes that compete for leases: several real ones that begin at one moment."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from results_schema import lease as leases
from results_schema.errors import MissingKey, Superseded
from results_schema.store import Store, attach_store

_barrier: Any = None


@contextmanager
def contenders(
    store: Store, number: int, act: Callable[..., Any], *arguments: Any
) -> Iterator[list[Any]]:
    """What `act(store, *arguments)` returns in so many processes, which live on in the context."""
    processes = multiprocessing.get_context("spawn")
    barrier = processes.Barrier(number)
    with ProcessPoolExecutor(number, processes, _begin, (barrier,)) as pool:
        running = [pool.submit(_act, store.location, act, arguments) for _ in range(number)]
        yield [one.result() for one in running]


def _begin(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _act(location: str, act: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    store = attach_store(location)
    _barrier.wait(100)
    return act(store, *arguments)


def take_all(store: Store, items: list[str]) -> list[str]:
    """Takes what it can; returns the items taken."""
    return [item for item in items if store.leases.take(item)]


def count(store: Store, expiry: float, item: str, key: str, rounds: int) -> int:
    """Adds one to a counter so often, each time under the lease, and dawdles over it.

    Returns:
        How often it was added, and not lost with the lease.
    """
    leases.EXPIRY, added = expiry, 0
    while added < rounds:
        lease = store.leases.take(item)
        if lease is None:
            continue
        try:
            number = int(store.get(key))
        except MissingKey:
            number = 0
        if random.random() < 0.3:
            time.sleep(random.random() * 3 * expiry)
        try:
            store.put(key, b"%d" % (number + 1), lease=lease)
            added += 1
        except Superseded:
            pass
        match random.randrange(3):
            case 0:
                lease.release()
            case 1:
                time.sleep(random.random() * 2 * expiry)
                lease.release()
            case _:
                pass  # as if the worker had died: whoever comes next has to take over
    return added
