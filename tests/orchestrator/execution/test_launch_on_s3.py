"""Sweeps with surfaces through the real Ray into a bucket: as into a folder, bit for bit."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest
from s3_server import SECRET, make_bucket, s3_server
from soundness import LANDSCAPES, TABLES, digest
from sweeps import finish, started, trained_epochs, undisturbed, wait_for, worker, write_experiment

from orchestrator.config.experiment import load_experiment
from results_schema import layout
from results_schema.results import Results
from results_schema.s3.store import S3Store
from workers.landscape.survey import survey

T = TypeVar("T")
EVERY = (*TABLES, *LANDSCAPES)
pytestmark = [pytest.mark.long, pytest.mark.ray, pytest.mark.s3, pytest.mark.timeout(900)]

LANDSCAPE = """
landscape:
  contour: {grid: 5}
  gradient_variance: {grid: 3, subset: 20}
"""


def written(folder: Path) -> Path:
    """An experiment of two trials of four epochs, with two surfaces each."""
    path = write_experiment(folder, epochs=4, seeds="0, 1", figures="{accuracy: accuracy_by_index}")
    path.write_text(path.read_text() + LANDSCAPE)
    return path


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Digest of the sweep in a folder, without Ray and undisturbed."""
    folder = tmp_path_factory.mktemp("reference")
    experiment = written(folder)
    store = undisturbed(experiment, folder / "results")
    for surface in load_experiment(experiment).surfaces():
        assert survey(surface, store, device="cpu").status == "done"
    return digest(store, EVERY)


@pytest.fixture
def store() -> Iterator[S3Store]:
    with s3_server():
        yield S3Store.at(f"{make_bucket('sweep')}/results")


def launch(*options: object) -> tuple[int, str]:
    with started("launch", "--device", "cpu", *options) as sweep:
        return finish(sweep, 600)


def soon(condition: Callable[[], T]) -> T:
    """Asks now and then: the server answers one request at a time, and the sweep's come first."""
    return wait_for(lambda: condition() or time.sleep(0.5), 300)  # type: ignore[return-value]


def test_a_launch_into_a_bucket(tmp_path: Path, store: S3Store, reference: str):
    experiment = written(tmp_path)
    code, output = launch(experiment, "--store", store.location)
    assert code == 0, output
    assert SECRET not in output
    assert "4/4 " in output
    assert f"report: {store.location}/reports/small/index.html" in output
    assert digest(store, EVERY) == reference
    assert store.leases.held() == {}
    assert store.list(layout.REQUESTS) == []
    assert store.has("figures/accuracy.html")
    # Other programs see the same rows, once all has ended.
    for folder, _ in EVERY:
        for key in store.list(folder):
            assert store.bucket.get(key) is not None, key
    before = {entry.name: entry.version for entry in store.bucket.list("blocks/")}
    code, output = launch(experiment, "--store", store.location)
    assert code == 0, output
    assert "nothing to measure: every surface is finished" in output
    assert "Ray" not in output
    assert {entry.name: entry.version for entry in store.bucket.list("blocks/")} == before


def measuring(store: S3Store) -> int:
    """The process of some worker that measures a surface, 0 if there is none."""
    held = store.leases.held().items()
    return next((by.pid for item, by in held if layout.is_surface(item) and by.pid), 0)


def test_killed_workers_and_a_killed_driver_leave_no_trace_in_a_bucket(
    tmp_path: Path, store: S3Store, reference: str
):
    options = (written(tmp_path), "--store", store.location)
    with started("launch", "--device", "cpu", "--checkpoint-every", "0.4", *options) as sweep:
        os.kill(soon(lambda: trained_epochs(store) >= 3 and worker(store)), signal.SIGKILL)
        os.kill(soon(lambda: measuring(store)), signal.SIGKILL)
        soon(lambda: store.leases.held())
        sweep.kill()
    soon(lambda: all(holder.dead for holder in store.leases.held().values()))
    code, output = launch(*options)
    assert code == 0, output
    assert digest(store, EVERY) == reference
    assert max(Results(store).trials()["attempts"]) > 1
    assert store.leases.held() == {}


def test_a_sweep_is_cancelled_from_elsewhere_and_goes_on(
    tmp_path: Path, store: S3Store, reference: str
):
    options = (written(tmp_path), "--store", store.location)
    with started("launch", "--device", "cpu", *options) as sweep:
        soon(lambda: trained_epochs(store) >= 2)
        with started("cancel", "small", "--store", store.location) as cancel:
            told, _ = cancel.communicate(timeout=120)
        assert "stops on" in told
        output, _ = sweep.communicate(timeout=300)
    assert sweep.returncode == 1, output
    assert "cancelled; the same command resumes" in output
    assert "Traceback" not in output
    code, output = launch(*options)
    assert code == 0, output
    assert digest(store, EVERY) == reference
