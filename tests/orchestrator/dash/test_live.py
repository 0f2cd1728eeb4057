"""What the page shows of a store: rows, states, and a number that grows when something is new."""

import json
from pathlib import Path

import pytest

from orchestrator.dash import live as module
from orchestrator.dash.live import Live
from results_schema import layout
from results_schema.store import LocalStore, open_store


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch):
    monkeypatch.setattr(module, "AGAIN", 0.0)


def test_every_trial_has_a_row(trained):
    live = Live(trained.store)
    live.look()
    rows = live.rows("small")
    assert [row["trial_id"] for row in rows] == trained.ids
    assert [row["seed"] for row in rows] == [0, 1, 2]
    assert {row["state"] for row in rows} == {"done"}
    assert {row["epoch"] for row in rows} == {2}
    assert all(0 < row["best_test_accuracy"] <= 1 for row in rows)
    assert live.label(trained.ids[1]) == "DARTS, digits, 0.025, seed 1"
    json.dumps(rows, allow_nan=False)


def test_a_look_is_new_only_if_something_changed(trained):
    live = Live(trained.store)
    first = live.look()
    assert live.look() == first
    trained.fail(trained.ids[0])
    assert live.look() == first + 1
    assert live.counts("small") == {"failed": 1, "done": 2}
    assert live.rows("small")[0]["epoch"] == 1


def test_only_rows_that_have_changed_are_news(trained):
    live = Live(trained.store)
    first = live.look()
    assert live.news("small", first) == []
    assert live.news("small", first - 2) is None
    trained.cut_off(trained.ids[1], rows=1)
    live.look()
    [row] = live.news("small", first) or []
    assert (row["trial_id"], row["epoch"]) == (trained.ids[1], 1)
    trained.store.delete(layout.members("small"))
    live.look()
    assert live.news(None, first) is None


def test_a_store_that_is_quiet_is_not_read_again(trained, monkeypatch):
    live = Live(trained.store)
    live.look()
    monkeypatch.setattr(module, "AGAIN", 3600.0)
    monkeypatch.setattr(LocalStore, "get", lambda *_: pytest.fail("a file is read"))
    monkeypatch.setattr(LocalStore, "list", lambda *_: pytest.fail("a folder is listed"))
    assert live.look() == live.turn


def test_a_trial_that_no_experiment_names_is_shown(trained):
    trained.store.delete(layout.members("small"))
    live = Live(trained.store)
    live.look()
    assert live.experiments() == [""]
    assert {row["trial_id"] for row in live.rows("")} == set(trained.ids)
    assert live.label(trained.ids[0]) == trained.ids[0]


def test_a_damaged_table_of_members_is_told_and_the_rest_stays(trained):
    live = Live(trained.store)
    live.look()
    path = trained.store.root / layout.members("small")
    path.write_bytes(path.read_bytes()[:-9])
    live.look()
    assert "small.parquet" in live.trouble
    assert len(live.rows(None)) == 3


def test_an_empty_store_has_no_row(tmp_path: Path):
    live = Live(open_store(tmp_path / "empty"))
    live.look()
    assert (live.experiments(), live.rows(None), live.counts(None)) == ([], [], {})
