"""The commands that look after a store, on surfaces: status, logs, cancel, retry, gc, export."""

import json

import numpy as np
import pandas as pd
import pytest
from small_stores import shown_counts
from small_trials import few_digits

from orchestrator.config.experiment import load_experiment
from orchestrator.housekeeping.lookup import cancelled
from results_schema import layout, tables
from results_schema.results import Results
from results_schema.tables import WANTED
from workers.landscape.survey import survey

LANDSCAPE = "landscape: {contour: {grid: [3, 5]}}\n"


@pytest.fixture(scope="module")
def _measured(_trained, tmp_path_factory):
    """Surfaces of three trials: the first is finished, the second has all points and no row."""
    trained = _trained.copied(tmp_path_factory.mktemp("measured"))
    trained.want(LANDSCAPE)
    one, two, three = load_experiment(trained.experiment).surfaces()
    with few_digits():
        for surface in (one, two):
            assert survey(surface, trained.store, device="cpu").status == "done"
    trained.store.delete(layout.surface(two.surface_id))
    return trained, [one.surface_id, two.surface_id, three.surface_id]


@pytest.fixture
def trained(_measured, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return _measured[0].copied(tmp_path)


@pytest.fixture
def ids(_measured) -> list[str]:
    return _measured[1]


def fail(store, name: str) -> None:
    content = {"kind": "memory", "message": "no room", "at": "2020-04-26T12:00:00+00:00"}
    store.put(layout.failure(name), json.dumps(content).encode())


def test_status_counts_surfaces_and_tells_how_far_they_are(run, trained, ids):
    trained.held_elsewhere(ids[1])
    fail(trained.store, ids[2])
    code, output, _ = run("status")
    assert code == 0
    assert shown_counts(output) == {"done": 3}
    assert shown_counts(output, of="surfaces") == {"done": 1, "running": 1, "failed": 1}
    assert f"{ids[1]}: 15 of 15 points" in output
    assert "node7" in output
    assert f"{ids[2]}: memory: no room" in output
    told = json.loads(run("status", "--format", "json")[1])["surfaces"]
    assert told["experiments"]["small"]["done"] == 1
    assert told["running"][0]["surface_id"] == ids[1]
    assert told["failed"][0]["surface_id"] == ids[2]


def test_surfaces_are_cancelled_alone_or_with_their_experiment(run, trained, ids):
    assert run("cancel", ids[2][:-3])[0] == 0
    assert cancelled(trained.store) == {ids[2]}
    code, _, errors = run("cancel", ids[0])
    assert (code, "has ended" in errors) == (2, True)
    code, output, _ = run("cancel", "small")
    assert code == 0
    assert "2 surfaces cancelled" in output
    assert cancelled(trained.store) == set(ids[1:])
    assert shown_counts(run("status")[1], of="surfaces") == {"done": 1, "cancelled": 2}


def test_surfaces_are_put_back_alone_with_their_trial_or_their_experiment(run, trained, ids):
    one, two, three = ids
    fail(trained.store, three)
    assert run("retry", "small")[0] == 0
    assert not trained.store.has(layout.failure(three))
    assert run("retry", one, "--yes")[0] == 0
    assert not trained.store.has(layout.surface(one))
    assert not trained.store.has(layout.points(one))
    assert trained.store.has(layout.trial(trained.ids[0]))
    assert trained.store.has(layout.points(two))
    assert run("retry", trained.ids[1], "--yes")[0] == 0
    assert not trained.store.has(layout.points(two)), "it goes with its trial"


def test_the_collector_removes_surfaces_that_nobody_wants(run, trained, ids):
    trained.store.put(layout.wanted("small"), tables.to_parquet([], WANTED))
    code, output, _ = run("gc", "--yes")
    assert trained.store.has(layout.surface(ids[0])), "not unless it is asked to"
    code, output, _ = run("gc", "--unnamed", "--yes")
    assert code == 0
    assert "surfaces that no experiment wants" in output
    assert not trained.store.has(layout.surface(ids[0]))
    assert not trained.store.has(layout.points(ids[1]))
    assert trained.store.has(layout.trial(trained.ids[0]))


def test_surfaces_are_exported_as_tables_and_as_arrays(run, trained, ids, tmp_path):
    assert run("export", "small", "--to", "out")[0] == 0
    results = Results(trained.store)
    for part in ("surfaces", "points"):
        shown = getattr(results, part)("small")
        written = pd.read_parquet(tmp_path / f"out/small-{part}.parquet")
        assert list(written["surface_id"]) == list(shown["surface_id"])
    assert len(results.surfaces("small")) == 3, "one for each that is wanted"
    assert run("export", "small", "--to", "out", "--format", "numpy")[0] == 0
    with np.load(tmp_path / "out/small-surfaces.npz") as file:
        arrays = dict(file)
    assert arrays[f"{ids[0]}/loss"].shape == (3, 5)
    assert arrays[f"{ids[0]}/alpha"].tolist() == [-1, 0, 1]
    assert arrays[f"{ids[0]}/beta"].tolist() == [-1, -0.5, 0, 0.5, 1]
    points = results.points()
    centre = points[(points["surface_id"] == ids[0]) & (points["alpha"] == 0)]
    at = centre[centre["beta"] == 0.5]["loss"].item()
    assert arrays[f"{ids[0]}/loss"][1, 3] == at
    assert f"{ids[0]}/variance" not in arrays
