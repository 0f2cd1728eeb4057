"""Small real sweeps for tests: an experiment's file, the command line, an undisturbed run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from orchestrator.experiment import load_experiment
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store
from workers.training.loop import train

SMALL = """
title: A sweep that ends within seconds
claim: None, this is a test.
grid: {{genotype: [DARTS], variants: paper4, dataset: [{dataset}]}}
network: {{cells: 3, channels: 2}}
recipe: {{epochs: {epochs}}}
figures: {{small: accuracy_by_index}}
"""


def write_experiment(folder: Path, *, epochs: int = 2, dataset: str = "digits") -> Path:
    """An experiment of five trials for each data set."""
    path = folder / "small.yaml"
    path.write_text(SMALL.format(epochs=epochs, dataset=dataset))
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command line in a process group of its own, its output in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "orchestrator.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env={**os.environ, "COLUMNS": "200"},
    )


def finish(process: subprocess.Popen[str], seconds: float = 100) -> tuple[int, str]:
    """Exit code and output."""
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        raise
    return process.returncode, output


def launch(*arguments: object) -> tuple[int, str]:
    """`nas-sweep launch` on the CPU, waited for."""
    return finish(start("launch", "--device", "cpu", *arguments))


def undisturbed(experiment: Path, folder: Path) -> LocalStore:
    """The experiment trained in this process, one trial after the other, without Ray."""
    store = open_store(folder)
    for member in load_experiment(experiment).members():
        assert train(member.spec, store, device="cpu").status == "done"
    return store


def canonical(store: LocalStore) -> tuple[pa.Table, pa.Table]:
    """Metrics and trials without what the machine and the moment decide."""
    found = []
    for folder, schema in ((layout.METRICS, tables.METRICS), (layout.TRIALS, tables.TRIALS)):
        parts = [tables.from_parquet(store.get(key), schema, key) for key in store.list(folder)]
        found.append(tables.canonical(pa.concat_tables(parts), schema))
    return found[0], found[1]


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    """Returns when the condition holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def trained_epochs(store: LocalStore) -> int:
    """Rows in the live table of metrics."""
    keys = store.list(layout.METRICS)
    return sum(len(tables.from_parquet(store.get(key), tables.METRICS, key)) for key in keys)
