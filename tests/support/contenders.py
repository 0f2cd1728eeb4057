"""Processes that compete for leases: several real ones, each doing what it is told line by line.

python contenders.py STORE [EXPIRY]
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from results_schema import lease as leases
from results_schema.errors import MissingKey, Superseded
from results_schema.lease import Lease
from results_schema.store import Store, attach_store


class Contender:
    """A process that takes and uses leases as it is told."""

    def __init__(self, store: Store, *settings: float) -> None:
        command = [sys.executable, __file__, store.location, *map(str, settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin
        print(*words, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def contenders(store: Store, number: int, *settings: float) -> Iterator[list[Contender]]:
    started = [Contender(store, *settings) for _ in range(number)]
    try:
        assert {contender.hear() for contender in started} == {"ready"}
        yield started
    finally:
        for contender in started:
            contender.end()


def put(store: Store, lease: Lease, key: str, text: str) -> str:
    try:
        store.put(key, text.encode(), lease=lease)
    except Superseded:
        return "superseded"
    return "written"


def take_all(store: Store, items: list[str], start: float) -> list[str]:
    """Takes what it can from the moment `start` on; returns the items taken."""
    while time.time() < start:
        pass
    return [item for item in items if store.leases.take(item)]


def count(store: Store, item: str, key: str, rounds: int) -> tuple[int, int]:
    """Adds one to a counter so often, each time under the lease, and dawdles over it.

    Returns:
        How often it was added, and how often the lease was lost before it could be.
    """
    added = lost = 0
    while added < rounds:
        lease = store.leases.take(item)
        if lease is None:
            continue
        try:
            number = int(store.get(key))
        except MissingKey:
            number = 0
        if random.random() < 0.3:
            time.sleep(random.random() * 3 * leases.EXPIRY)
        if put(store, lease, key, str(number + 1)) == "written":
            added += 1
        else:
            lost += 1
        match random.randrange(3):
            case 0:
                lease.release()
            case 1:
                time.sleep(random.random() * 2 * leases.EXPIRY)
                lease.release()
            case _:
                pass  # as if the worker had died: whoever comes next has to take over
    return added, lost


def main() -> None:
    store = attach_store(sys.argv[1])
    leases.EXPIRY = float(sys.argv[2]) if len(sys.argv) > 2 else leases.EXPIRY
    print("ready", flush=True)
    for line in sys.stdin:
        match line.split():
            case ["race", start, *items]:
                answer = " ".join(take_all(store, items, float(start)))
            case ["count", item, key, rounds]:
                answer = "{} {}".format(*count(store, item, key, int(rounds)))
            case _:
                raise ValueError(line)
        print(answer, flush=True)


if __name__ == "__main__":
    main()
