"""What the page shows of a store: rows, states, curves, and how changes are noticed."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.dash import live as module
from orchestrator.dash.charts import label
from orchestrator.dash.live import COLUMNS, WATCHED, Curves, Live, folder_fingerprints
from orchestrator.housekeeping.status import ItemStatus, RunningTrial, Status
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.0)


@pytest.fixture
def live(trained):
    found = Live(trained.store)
    found.refresh()
    return found


@pytest.fixture
def curves(trained):
    found = Curves(trained.store)
    found.refresh()
    return found


def test_every_trial_has_a_row(live, trained):
    rows = live.rows("small")
    assert [row["trial_id"] for row in rows] == trained.ids
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert {row["state"] for row in rows} == {"done"}
    assert {row["epoch"] for row in rows} == {2}
    assert all(0 < row["best_test_accuracy"] <= 1 for row in rows)
    assert label(rows[1]) == "DARTS, digits, 0.025, seed 1"
    json.dumps(rows, allow_nan=False)


def test_only_what_changed_is_noticed(live, trained):
    first = live.version
    assert live.refresh() == first
    assert live.changed_rows("small", first) == []
    assert live.changed_rows("small", first - 2) is None
    trained.cut_off(trained.ids[1], rows=1)
    assert live.refresh() == first + 1
    [row] = live.changed_rows("small", first) or []
    assert (row["trial_id"], row["epoch"]) == (trained.ids[1], 1)
    trained.fail(trained.ids[0])
    assert live.refresh() == first + 2
    assert live.counts("small") == {"failed": 1, "to do": 1, "done": 1}
    # Rows that are of another experiment, or of none, are not those of before.
    trained.store.delete(layout.members("small"))
    live.refresh()
    assert live.changed_rows(None, first) is None
    assert live.experiments() == [""]
    assert {row["trial_id"] for row in live.rows("")} == set(trained.ids)
    assert {label(row) for row in live.rows("")} == set(trained.ids)


def test_axes_are_columns_and_what_is_left_is_estimated(live, trained):
    key = layout.members("small")
    rows = tables.from_parquet(trained.store.get(key), tables.MEMBERS, key).to_pylist()
    rows[0] |= {"axes": '{"recipe.weight_decay": 0.1}'}
    trained.store.put(key, tables.to_parquet(rows, tables.MEMBERS))
    live.refresh()
    assert [row["weight_decay"] for row in live.rows("small")] == [0.1, None, None]
    assert live.axes()[-1] == "weight_decay"
    assert live.seconds_left("small") is None, "nothing runs"
    one = RunningTrial(trained.ids[0], "host", 2, 12, None, None, lost=False, pace=3.0)
    states: Any = dict.fromkeys(trained.ids, "owed") | {one.trial_id: "running"}
    live._status = Status(ItemStatus({"small": states}, [one]), progress={one.trial_id: (2, 12)})
    assert live.seconds_left("small") == live.seconds_left(None) == (10 + 12 + 12) * 3


def test_a_store_that_is_quiet_is_not_read_again(live, monkeypatch):
    monkeypatch.setattr(module, "RECHECK_SECONDS", 3600.0)
    monkeypatch.setattr(LocalStore, "get", lambda *_: pytest.fail("a file is read"))
    monkeypatch.setattr(LocalStore, "list", lambda *_: pytest.fail("a folder is listed"))
    assert live.refresh() == live.version


def test_a_damaged_table_of_members_is_reported_and_the_rest_stays(live, trained):
    path = trained.store.root / layout.members("small")
    path.write_bytes(path.read_bytes()[:-9])
    live.refresh()
    assert "small.parquet" in live.problem
    assert len(live.rows(None)) == 3


def test_an_empty_store_has_no_row_and_no_curve(tmp_path: Path):
    live = Live(open_store(tmp_path / "empty"))
    live.refresh()
    assert (live.experiments(), live.rows(None), live.counts(None)) == ([], [], {})
    assert (live.curves.by_trial, live.curves.version) == ({}, 0)


def test_only_curves_that_changed_are_read_again(curves, trained, monkeypatch):
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    for name in ("epoch", *COLUMNS):
        wanted = table[name].to_numpy(zero_copy_only=False).astype(float)
        np.testing.assert_array_equal(curves.by_trial[trained.ids[0]][name], wanted)

    reads = []
    get = LocalStore.get
    monkeypatch.setattr(LocalStore, "get", lambda self, key: reads.append(key) or get(self, key))
    curves.refresh()
    assert (reads, curves.version, curves.trials_changed_at) == ([], 1, 1)
    trained.cut_off(trained.ids[1], rows=1)
    reads.clear()
    curves.refresh()
    assert reads == [layout.metrics(trained.ids[1])]
    assert (curves.version, curves.trials_changed_at) == (2, 1)
    assert curves.changed_at == dict.fromkeys(trained.ids, 1) | {trained.ids[1]: 2}
    assert curves.by_trial[trained.ids[1]]["epoch"].tolist() == [1]
    trained.store.delete(layout.metrics(trained.ids[2]))
    curves.refresh()
    assert set(curves.by_trial) == set(trained.ids[:2])
    assert curves.trials_changed_at == 3


def test_damage_is_reported_and_what_was_read_stays(curves, trained):
    path = trained.store.root / layout.metrics(trained.ids[0])
    sound = path.read_bytes()
    path.write_bytes(sound[:-50])
    curves.refresh()
    assert list(curves.damaged) == [trained.ids[0]]
    assert len(curves.by_trial[trained.ids[0]]["epoch"]) == 2
    path.write_bytes(sound)
    os.utime(path, (1, 1))
    curves.refresh()
    assert not curves.damaged


def test_a_column_that_a_file_lacks_is_nan(trained):
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    table.drop_columns(["clip_rate"]).to_pandas().to_parquet(trained.store.root / key)
    curves = Curves(trained.store)
    curves.refresh()
    assert np.isnan(curves.by_trial[trained.ids[0]]["clip_rate"]).all()


@pytest.mark.parametrize("folder", [layout.METRICS, layout.POINTS, layout.FAILURES])
def test_a_file_that_is_put_or_removed_changes_its_folders_fingerprint_alone(tmp_path, folder):
    store = LocalStore(tmp_path / "s")
    before = folder_fingerprints(store)
    # Twice to the same key: a file that takes another's place is noticed too.
    for data in (b"1", b"2", None):
        # A tick of the clock may pass before it changes.
        while before == (after := folder_fingerprints(store)):
            if data is None:
                store.delete(f"{folder}x.parquet")
                store.put(f"{folder}y.parquet", b"")
            else:
                store.put(f"{folder}x.parquet", data)
        assert {name for name in WATCHED if before[name] != after[name]} == {folder}
        before = after
