"""Processes that compete for leases: several real ones, told what to do line by line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from results_schema.store import Store

CONTENDER = Path(__file__).with_name("contender.py")


class Contender:
    """A process that takes and uses leases as it is told."""

    def __init__(self, store: Store, *settings: float) -> None:
        command = [sys.executable, str(CONTENDER), store.location, *map(str, settings)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin
        print(*words, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

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


@contextmanager
def contender(store: Store, *settings: float) -> Iterator[Contender]:
    with contenders(store, 1, *settings) as started:
        yield started[0]
