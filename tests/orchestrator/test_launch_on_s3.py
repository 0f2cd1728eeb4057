"""Sweeps with surfaces through the real Ray into a bucket: as into a folder, bit for bit."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from s3_server import SECRET, make_bucket, s3_server
from soundness import LANDSCAPES, TABLES, digest
from sweeps import finish, started, undisturbed, write_experiment

from orchestrator.experiment import load_experiment
from results_schema import layout
from results_schema.s3.store import S3Store
from workers.landscape.survey import survey

EVERY = (*TABLES, *LANDSCAPES)
pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

LANDSCAPE = """
landscape:
  contour: {grid: 5}
  gradient_variance: {grid: 2, subset: 20}
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
    before = {entry.name: entry.mark for entry in store.bucket.list("blocks/")}
    code, output = launch(experiment, "--store", store.location)
    assert code == 0, output
    assert "nothing to measure: every surface is finished" in output
    assert "Ray" not in output
    assert {entry.name: entry.mark for entry in store.bucket.list("blocks/")} == before


def launch(*options: object) -> tuple[int, str]:
    with started("launch", "--device", "cpu", *options) as sweep:
        return finish(sweep, 600)
