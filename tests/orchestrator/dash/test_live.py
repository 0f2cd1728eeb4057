"""What the page shows of a store: rows, states, curves, and how changes are noticed."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator.dash import live as module
from orchestrator.dash.live import (
    COLUMNS,
    WATCHED,
    Curves,
    Live,
    folder_fingerprints,
)
from orchestrator.housekeeping.lookup import table_fingerprints
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(module, "RECHECK_SECONDS", 0.0)


def test_every_trial_has_a_row(trained):
    live = Live(trained.store)
    live.refresh()
    rows = live.rows("small")
    assert [row["trial_id"] for row in rows] == trained.ids
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert {row["state"] for row in rows} == {"done"}
    assert {row["epoch"] for row in rows} == {2}
    assert all(0 < row["best_test_accuracy"] <= 1 for row in rows)
    assert live.label(trained.ids[1]) == "DARTS, digits, 0.025, seed 1"
    json.dumps(rows, allow_nan=False)


def test_the_version_grows_only_if_something_changed(trained):
    live = Live(trained.store)
    first = live.refresh()
    assert live.refresh() == first
    trained.fail(trained.ids[0])
    assert live.refresh() == first + 1
    assert live.counts("small") == {"failed": 1, "done": 2}
    assert live.rows("small")[0]["epoch"] == 1


def test_only_changed_rows_are_returned(trained):
    live = Live(trained.store)
    first = live.refresh()
    assert live.changed_rows("small", first) == []
    assert live.changed_rows("small", first - 2) is None
    trained.cut_off(trained.ids[1], rows=1)
    live.refresh()
    [row] = live.changed_rows("small", first) or []
    assert (row["trial_id"], row["epoch"]) == (trained.ids[1], 1)
    trained.store.delete(layout.members("small"))
    live.refresh()
    assert live.changed_rows(None, first) is None


def test_a_store_that_is_quiet_is_not_read_again(trained, monkeypatch):
    live = Live(trained.store)
    live.refresh()
    monkeypatch.setattr(module, "RECHECK_SECONDS", 3600.0)
    monkeypatch.setattr(LocalStore, "get", lambda *_: pytest.fail("a file is read"))
    monkeypatch.setattr(LocalStore, "list", lambda *_: pytest.fail("a folder is listed"))
    assert live.refresh() == live.version


def test_a_trial_that_no_experiment_names_is_shown(trained):
    trained.store.delete(layout.members("small"))
    live = Live(trained.store)
    live.refresh()
    assert live.experiments() == [""]
    assert {row["trial_id"] for row in live.rows("")} == set(trained.ids)
    assert live.label(trained.ids[0]) == trained.ids[0]


def test_a_damaged_table_of_members_is_reported_and_the_rest_stays(trained):
    live = Live(trained.store)
    live.refresh()
    path = trained.store.root / layout.members("small")
    path.write_bytes(path.read_bytes()[:-9])
    live.refresh()
    assert "small.parquet" in live.problem
    assert len(live.rows(None)) == 3


def test_an_empty_store_has_no_row(tmp_path: Path):
    live = Live(open_store(tmp_path / "empty"))
    live.refresh()
    assert (live.experiments(), live.rows(None), live.counts(None)) == ([], [], {})


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """The keys of metrics that are read."""
    seen: list[str] = []
    get = LocalStore.get

    def noted(self: LocalStore, key: str, **options: int) -> bytes:
        if key.startswith(layout.METRICS):
            seen.append(key)
        return get(self, key, **options)

    monkeypatch.setattr(LocalStore, "get", noted)
    return seen


def test_every_curve_has_its_columns(trained):
    curves = Curves(trained.store)
    curves.refresh()
    assert set(curves.by_trial) == set(trained.ids)
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    for name in ("epoch", *COLUMNS):
        assert curves.by_trial[trained.ids[0]][name].tolist() == table[name].to_pylist()


def test_only_files_that_changed_are_read_again(trained, reads):
    curves = Curves(trained.store)
    curves.refresh()
    assert len(reads) == 3
    curves.refresh()
    assert (len(reads), curves.version) == (3, 1)
    trained.cut_off(trained.ids[1], rows=1)
    reads.clear()
    curves.refresh()
    assert reads == [layout.metrics(trained.ids[1])]
    assert curves.version == 2
    assert curves.by_trial[trained.ids[1]]["epoch"].tolist() == [1]


def test_a_trial_that_is_removed_goes(trained):
    curves = Curves(trained.store)
    curves.refresh()
    trained.store.delete(layout.metrics(trained.ids[2]))
    curves.refresh()
    assert trained.ids[2] not in curves.by_trial


def test_damage_is_reported_and_what_was_read_stays(trained):
    curves = Curves(trained.store)
    curves.refresh()
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


def test_a_column_that_an_older_release_lacked_is_nan(trained):
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    table.drop_columns(["clip_rate"]).to_pandas().to_parquet(trained.store.root / key)
    curves = Curves(trained.store)
    curves.refresh()
    assert np.isnan(curves.by_trial[trained.ids[0]]["clip_rate"]).all()


def test_an_empty_store_has_no_curve(tmp_path: Path):
    curves = Curves(open_store(tmp_path / "empty"))
    curves.refresh()
    assert (curves.by_trial, curves.version) == ({}, 0)


@pytest.mark.parametrize("folder", [layout.METRICS, layout.POINTS, layout.FAILURES])
def test_a_file_that_is_put_or_removed_changes_its_folders_fingerprint_alone(tmp_path, folder):
    store = LocalStore(tmp_path / "s")
    seen = [folder_fingerprints(store)]
    # Twice to the same key: a file that takes another's place is noticed too.
    for data in (b"1", b"2", None):
        before = seen[-1]
        while before == (
            after := folder_fingerprints(store)
        ):  # a tick of the clock may pass between
            if data is None:
                store.delete(f"{folder}x.parquet")
                store.put(f"{folder}y.parquet", b"")
            else:
                store.put(f"{folder}x.parquet", data)
        assert {name for name in WATCHED if before[name] != after[name]} == {folder}
        seen.append(after)


def test_tables_are_found_by_id_without_the_one_that_has_no_rows(trained):
    assert set(table_fingerprints(trained.store, layout.METRICS)) == set(trained.ids)
    assert table_fingerprints(trained.store, "nothing/") == {}
