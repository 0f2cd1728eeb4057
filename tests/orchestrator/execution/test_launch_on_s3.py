"""Sweeps with surfaces through the real Ray into a bucket: as into a folder, bit for bit."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from disturbing import foreign
from s3_server import SECRET, make_bucket, s3_server
from soundness import LANDSCAPES, TABLES, digest
from sweeps import (
    Pace,
    finish,
    started,
    trained_epochs,
    undisturbed,
    wait_for,
    worker,
    write_experiment,
)

from results_schema import layout
from results_schema.results import Results
from results_schema.s3.store import S3Store

pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(900)]

T = TypeVar("T")
EVERY = (*TABLES, *LANDSCAPES)
LANDSCAPE = """
landscape:
  contour: {grid: 5}
  gradient_variance: {grid: 3, subset: 20}
"""


def soon(condition: Callable[[], T]) -> T:
    """Ask now and then: the server answers one request at a time, and the sweep's come first."""
    return wait_for(lambda: condition() or time.sleep(0.5), 300)  # type: ignore[return-value]


def measuring(store: S3Store) -> int:
    """The process of some worker that measures a surface, 0 if there is none."""
    held = store.leases.held().items()
    return next((by.pid for item, by in held if layout.is_surface(item) and by.pid), 0)


def test_a_launch_into_a_bucket_is_disturbed_cancelled_and_repeated(tmp_path: Path):
    experiment = write_experiment(
        tmp_path, epochs=4, seeds="0, 1", figures="{f: accuracy_by_index}"
    )
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    reference = digest(undisturbed(experiment, tmp_path / "results"), EVERY)
    with s3_server():
        store = S3Store.at(f"{make_bucket('sweep')}/results")
        options = ("launch", "--device", "cpu", experiment, "--store", store.location)
        with started(*options, "--checkpoint-every", "0.4") as sweep:
            os.kill(soon(lambda: trained_epochs(store) >= 3 and worker(store)), signal.SIGKILL)
            os.kill(soon(lambda: measuring(store)), signal.SIGKILL)
            soon(lambda: store.leases.held())
            sweep.kill()
        soon(lambda: all(holder.dead for holder in store.leases.held().values()))
        pace = Pace(tmp_path)
        with started(*options, **pace.environment) as sweep:
            with pace.held_after(0):
                # A request from before the launch is withdrawn by it, and dead holders are older.
                soon(lambda: foreign(store))
                with started("cancel", "small", "--store", store.location) as cancel:
                    finish(cancel)
                time.sleep(5)  # a worker looks for requests every second
            code, output = finish(sweep)
        assert (code, "; the same command resumes them" in output) == (1, True), output
        with started(*options) as sweep:
            code, output = finish(sweep, 600)
        assert code == 0, output
        assert f"report: {store.location}/reports/small/index.html" in output
        assert (SECRET in output, "Traceback" in output) == (False, False)
        assert digest(store, EVERY) == reference
        assert max(Results(store).trials()["attempts"]) > 1
        # The killed launch left its file, and a surface that had just ended its request.
        with started("gc", "--yes", "--store", store.location) as gc:
            finish(gc)
        assert (store.leases.held(), store.list(layout.REQUESTS)) == ({}, [])
        assert store.has("figures/small-f.html")
        # Other programs see the same rows, once all has ended.
        for folder, _ in EVERY:
            assert all(store.bucket.get(key) is not None for key in store.list(folder))
        before = {entry.name: entry.version for entry in store.bucket.list("blocks/")}
        with started(*options) as sweep:
            code, output = finish(sweep)
        assert (code, "nothing to measure: every surface is finished" in output) == (0, True)
        assert {entry.name: entry.version for entry in store.bucket.list("blocks/")} == before
