"""Small real sweeps for tests: an experiment's file, the command line, an undisturbed run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from results_schema import layout, tables
from results_schema.store import LocalStore, Store, open_store
from workers.landscape.survey import survey
from workers.training.trial import train

T = TypeVar("T")

SMALL = """
title: A sweep that ends within seconds
claim: None, this is a test.
grid:
  {{genotype: [DARTS], variants: {variants}, dataset: [{datasets}], learning_rate: [{rates}],
   seed: [{seeds}]}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}, batch_size: 480}}
figures: {figures}
"""


def write_experiment(folder: Path, *, epochs: int, **axes: str) -> Path:
    """An experiment of three trials, or as many as the axes say, and without a picture."""
    path = folder / f"{axes.pop('name', 'small')}.yaml"
    given = {"variants": "none", "datasets": "digits", "rates": "0.025", "seeds": "0, 1, 2"}
    path.write_text(SMALL.format(epochs=epochs, **{"figures": "{}"} | given | axes))
    return path


@contextlib.contextmanager
def started(
    *arguments: object, terminal: str = "", **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """The command line as a process of its own, its output in one pipe; gone at the end.

    Args:
        terminal: Name of a terminal to start the command in instead.
    """
    inside = os.open(terminal, os.O_RDWR | os.O_NOCTTY) if terminal else None
    process = subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
        stdin=inside,
        stdout=subprocess.PIPE if inside is None else inside,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "COLUMNS": "200", **environment},
        start_new_session=inside is not None,
        preexec_fn=None if inside is None else lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    if inside is not None:
        os.close(inside)
    with process:
        try:
            yield process
        finally:
            process.kill()


class Pace:
    """How far workers may train, for commands, or heads of a cluster, with its environment.

    Args:
        folder: Where a file tells it to the workers.
    """

    def __init__(self, folder: Path) -> None:
        self._file = folder / "held"
        paths = [str(Path(__file__).with_name("paced")), os.environ.get("PYTHONPATH", "")]
        self.environment = {
            "PYTHONPATH": os.pathsep.join(filter(None, paths)),
            "HELD_AFTER": str(self._file),
        }

    @contextlib.contextmanager
    def held_after(self, epoch: int) -> Iterator[None]:
        """Within it no trial begins a later epoch."""
        self._file.write_text(str(epoch))
        try:
            yield
        finally:
            self._file.unlink()


def finish(process: subprocess.Popen[str], seconds: float = 300) -> tuple[int, str]:
    """Exit code and output."""
    output, _ = process.communicate(timeout=seconds)
    return process.returncode, output


def launch(*arguments: object, **environment: str) -> tuple[int, str]:
    """`nas-sweep launch` on the CPU, waited for."""
    with started("launch", "--device", "cpu", *arguments, **environment) as process:
        return finish(process)


def undisturbed(experiment: Path, folder: Path) -> LocalStore:
    """The experiment trained and measured in this process, one after the other, without Ray."""
    store, loaded = open_store(folder), load_experiment(experiment)
    record(loaded, store)
    for member in loaded.members():
        assert train(member.spec, store, device="cpu").status == "done"
    for surface in loaded.surfaces():
        assert survey(surface, store, device="cpu").status == "done"
    return store


def wait_for(condition: Callable[[], T], seconds: float = 300) -> T:
    """What the condition comes to, when it holds."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return found


def worker(store: Store) -> int:
    """The process of some worker, 0 if none holds a lease just now."""
    return next((holder.pid for holder in store.leases.held().values() if holder.pid), 0)


def trained_epochs(store: Store) -> int:
    """Rows in the live table of metrics."""
    keys = store.list(layout.METRICS)
    return sum(len(tables.from_parquet(store.get(key), tables.METRICS, key)) for key in keys)
