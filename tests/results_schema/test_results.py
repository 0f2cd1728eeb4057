"""The reader's way: frames joined with an experiment's names, right while a sweep is running."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from results_schema import layout, tables
from results_schema.errors import ConfigError, CorruptData, StoreError
from results_schema.results import Results, Snapshot
from results_schema.store import LocalStore, open_store

NOON = datetime(2020, 4, 26, 12, tzinfo=UTC)
FIT = {tables.REAL: 0.5, tables.INT: 3, tables.LONG: 3, tables.FLAG: False, tables.TEXT: "x"}


def put(store: LocalStore, key: str, schema: pa.Schema, *rows: dict[str, Any]) -> None:
    """Writes rows of the given values, and of others that fit where none is given."""
    filler = {field.name: (FIT | {tables.TIME: NOON})[field.type] for field in schema}
    filler |= {"axes": None} if schema is tables.MEMBERS else {}
    store.put(key, tables.to_parquet([filler | row for row in rows], schema))


def put_members(store: LocalStore, experiment: str, **trials: str) -> None:
    """Writes which variant (the name) is which trial (the value)."""
    rows = [
        {"experiment": experiment, "variant": variant, "index": index, "trial_id": trial}
        for index, (variant, trial) in enumerate(trials.items())
    ]
    put(store, layout.members(experiment), tables.MEMBERS, *rows)


def put_trial(store: LocalStore, trial: str, epochs: int = 2, ended: bool = True) -> None:
    rows = [
        {"trial_id": trial, "epoch": epoch, "test_loss": 1 / epoch}
        for epoch in range(1, epochs + 1)
    ]
    put(store, layout.metrics(trial), tables.METRICS, *rows)
    if ended:
        row = {"trial_id": trial, "epochs": epochs, "status": "done", "cuda": None}
        put(store, layout.trial(trial), tables.TRIALS, row)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """Two experiments that share trial `b`; `c` is training, `d` not begun, `e` nobody's."""
    store = open_store(tmp_path / "results")
    put_members(store, "figure-9", DARTS="a", random1="b", random2="c", random3="d")
    put_members(store, "figure-10", DARTS="b", again="b")
    put_trial(store, "a", epochs=3)
    put_trial(store, "b")
    put_trial(store, "c", epochs=1, ended=False)
    put_trial(store, "e")
    own = {
        trial: {"surface_id": f"{trial}@e3", "trial_id": trial, "kind": "contour"}
        for trial in ("a", "b", "e")
    }
    for trial, points in (("a", 2), ("b", 1), ("e", 1)):
        put(store, layout.points(f"{trial}@e3"), tables.POINTS, *[own[trial]] * points)
    put(store, layout.surface("a@e3"), tables.SURFACES, own["a"] | {"seed": 7})
    wanted = [own[trial] | {"experiment": "figure-9"} for trial in ("a", "b")]
    put(store, layout.wanted("figure-9"), tables.WANTED, *wanted)
    put(store, layout.cells("figure-9"), tables.CELLS, {"experiment": "figure-9"})
    return store


@pytest.fixture
def results(store: LocalStore) -> Results:
    return Results(store)


def test_without_an_experiment_every_row_is_there_once(results: Results):
    assert results.experiments() == ["figure-9", "figure-10"]
    assert sorted(results.trials()["trial_id"]) == ["a", "b", "e"]
    metrics = results.metrics()
    assert sorted(metrics["trial_id"] + metrics["epoch"].astype(str)) == [
        *("a1", "a2", "a3", "b1", "b2", "c1", "e1", "e2")
    ]
    assert len(results.members()) == 6
    assert results.surfaces()["surface_id"].tolist() == ["a@e3"]
    assert sorted(results.points()["trial_id"]) == ["a", "a", "b", "e"]
    assert len(results.cells("figure-9")) == 1
    for frame, schema in (
        (metrics, tables.METRICS),
        (results.trials(), tables.TRIALS),
        (results.members(), tables.MEMBERS),
        (results.surfaces(), tables.SURFACES),
        (results.points(), tables.POINTS),
        (results.cells("figure-9"), tables.CELLS),
    ):
        assert list(frame.columns) == schema.names


def test_every_member_has_a_row_trained_or_not_in_the_experiments_order(results: Results):
    members = results.members("figure-9")
    assert members["variant"].tolist() == ["DARTS", "random1", "random2", "random3"]
    assert members["trial_id"].tolist() == ["a", "b", "c", "d"]
    trials = results.trials("figure-9")
    assert trials["variant"].tolist() == members["variant"].tolist()
    assert trials["status"].fillna("-").tolist() == ["done", "done", "-", "-"]
    assert trials["epochs"].fillna(-1).tolist() == [3, 2, -1, -1]
    assert trials["started_at"].isna().tolist() == [False, False, True, True]


def test_metrics_carry_the_members_names(results: Results):
    metrics = results.metrics("figure-9")
    assert metrics["variant"].tolist() == ["DARTS"] * 3 + ["random1"] * 2 + ["random2"]
    assert metrics["epoch"].tolist() == [1, 2, 3, 1, 2, 1]
    assert metrics["test_loss"].tolist() == [1, 1 / 2, 1 / 3, 1, 1 / 2, 1]
    shared = results.metrics("figure-10")
    assert shared.groupby("variant")["epoch"].apply(list).to_dict() == {
        "DARTS": [1, 2],
        "again": [1, 2],
    }


def test_surfaces_carry_the_members_names_and_their_own_seeds(results: Results):
    surfaces = results.surfaces("figure-9")
    assert surfaces["surface_id"].tolist() == ["a@e3", "b@e3"]
    assert surfaces["variant"].tolist() == ["DARTS", "random1"]
    assert surfaces["status"].isna().tolist() == [False, True]
    assert surfaces["seed"].tolist() == [3, 3]
    assert surfaces["surface_seed"].fillna(-1).tolist() == [7, -1]
    points = results.points("figure-9")
    assert points["variant"].tolist() == ["DARTS", "DARTS", "random1"]


def test_joined_columns_are_the_members_and_then_the_others_each_once(results: Results):
    for frame, schema in (
        (results.trials("figure-9"), tables.TRIALS),
        (results.metrics("figure-9"), tables.METRICS),
    ):
        fresh = [name for name in schema.names if name not in tables.MEMBERS.names]
        assert list(frame.columns) == tables.MEMBERS.names + fresh
    named = [*tables.MEMBERS.names, "surface_id", "kind", "points"]
    fresh = [f"surface_{n}" if n in named else n for n in tables.SURFACES.names[3:]]
    assert list(results.surfaces("figure-9").columns) == named + fresh


def test_members_have_a_column_for_each_axis(tmp_path: Path):
    store = open_store(tmp_path)
    axes = {
        "one": {"recipe.weight_decay": 1, "network.channels": 16, "recipe.epochs": 3},
        "two": {"recipe.weight_decay": 0.1, "params.channels": 4, "precision": "bf16"},
        "none": None,
    }
    for name, values in axes.items():
        row = {"experiment": name, "trial_id": name, "axes": values and json.dumps(values)}
        put(store, layout.members(name), tables.MEMBERS, row)
    results = Results(store)
    # A last key that is another column, or that two axes share, does not name a column.
    own = {name: list(results.members(name).columns[len(tables.MEMBERS) :]) for name in axes}
    assert own == {
        "one": ["weight_decay", "channels", "recipe.epochs"],
        "two": ["weight_decay", "channels", "precision"],
        "none": [],
    }
    together = results.members().set_index("experiment")
    assert together["weight_decay"].fillna(-1).to_dict() == {"none": -1, "one": 1.0, "two": 0.1}
    assert set(together) >= {"network.channels", "params.channels"}
    assert results.trials("two")["precision"].tolist() == ["bf16"]
    put(store, layout.members("bad"), tables.MEMBERS, {"experiment": "bad", "axes": "[1]"})
    with pytest.raises(CorruptData, match="axes of a member"):
        results.members("bad")


@pytest.mark.parametrize("opened", [True, False])
def test_an_empty_store_gives_empty_frames_with_every_column(tmp_path: Path, opened: bool):
    results = Results(open_store(tmp_path) if opened else tmp_path)
    for frame, schema in (
        (results.metrics(), tables.METRICS),
        (results.trials(), tables.TRIALS),
        (results.members(), tables.MEMBERS),
    ):
        assert (len(frame), list(frame.columns)) == (0, schema.names)
    put_members(LocalStore(tmp_path), "new", DARTS="f", random1="g")
    assert len(results.metrics("new")) == 0
    assert "finished_at" in results.metrics("new").columns
    trials = results.trials("new")
    assert trials["trial_id"].tolist() == ["f", "g"]
    assert trials["status"].isna().tolist() == trials["test_accuracy"].isna().tolist() == [True] * 2


@pytest.mark.parametrize("name", ["figure-8", "figure-9.parquet", "0-schema", "", "../members"])
def test_an_unknown_experiment_is_named_with_those_that_are_known(results: Results, name: str):
    for read in (results.members, results.metrics, results.trials, results.cells):
        with pytest.raises(ConfigError, match=r"it has figure-9, figure-10") as caught:
            read(name)
        assert repr(name) in caught.value.what


def test_a_missing_store_is_named(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no experiment 'figure-9'\n  it has none yet"):
        Results(tmp_path).metrics("figure-9")
    (tmp_path / "file").write_bytes(b"")
    for location in (tmp_path / "none", str(tmp_path / "file")):
        with pytest.raises(StoreError, match="there is no store here") as caught:
            Results(location)
        assert caught.value.where == str(location)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_damaged_file_is_named_where_it_is_read(store: LocalStore):
    sound = store.get(layout.metrics("b"))
    flipped = sound[:99] + bytes([sound[99] ^ 1]) + sound[100:]
    for data in (sound[:-20], flipped, b"", b"epoch,loss\n1,0.5\n"):
        store.put(layout.metrics("b"), data)
        for experiment in (None, "figure-9"):
            with pytest.raises(CorruptData, match=r"metrics/b\.parquet: not a sound") as caught:
                Results(store).metrics(experiment)
            assert caught.value.exit_code == 3
    store.put(layout.metrics("b"), sound)
    store.put(layout.metrics("e"), b"PAR1")
    assert len(Results(store).metrics("figure-9")) == 6
    assert len(Results(store).trials()) == 3


class Vanishing(LocalStore):
    """A store in which another process deletes a file just before it is read."""

    vanishes = ""

    def _get(self, key: str, most: int | None) -> bytes:
        if key == self.vanishes:
            self.delete(key)
        return super()._get(key, most)


def test_a_file_that_vanishes_after_it_was_listed_is_left_out(store: LocalStore):
    vanishing = Vanishing(store.root)
    results = Results(vanishing)
    vanishing.vanishes = layout.metrics("b")
    assert set(results.metrics("figure-9")["trial_id"]) == {"a", "c"}
    vanishing.vanishes = layout.trial("b")
    assert results.trials("figure-9")["status"].notna().tolist() == [True, False, False, False]
    vanishing.vanishes = layout.members("figure-10")
    assert set(results.members()["experiment"]) == {"figure-9"}


def test_reading_writes_nothing_and_leaves_alone_what_is_being_written(store: LocalStore):
    (store.root / ".staging/0123.parquet").write_bytes(b"no table")
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    results = Results(store.root)
    assert (len(results.metrics()), len(results.trials()), len(results.members())) == (8, 3, 6)
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before


def test_a_table_that_somebody_else_wrote_is_read(store: LocalStore):
    expected = Results(store).metrics("figure-9")
    path = store.root / layout.metrics("b")
    frame = pd.read_parquet(path)
    frame.to_parquet(path)
    pd.testing.assert_frame_equal(Results(store).metrics("figure-9"), expected)
    wide = frame.assign(
        epoch=frame["epoch"].astype("int64"),
        trial_id=frame["trial_id"].astype("category"),
        finished_at=frame["finished_at"].dt.as_unit("ns").dt.tz_convert("Asia/Tokyo"),
        remark="mine",
    )
    wide[wide.columns[::-1]].to_parquet(path, index=True, compression="gzip")
    pd.testing.assert_frame_equal(Results(store).metrics("figure-9"), expected)


def test_a_short_name_is_the_one_experiment_that_begins_so(store: LocalStore, results: Results):
    row = {"trial_id": "a", "experiment": "fig2@laptop"}
    put(store, layout.members("fig2@laptop"), tables.MEMBERS, row)
    put(store, layout.cells("fig2@laptop"), tables.CELLS, {"experiment": "fig2@laptop"})
    assert results.trials("fig2")["epochs"].tolist() == [3]
    assert len(results.cells("fig2")) == 1
    put(store, layout.members("fig2@fast"), tables.MEMBERS, row | {"experiment": "fig2@fast"})
    with pytest.raises(ConfigError, match=r"'fig2' is 2 experiments\n.*fig2@fast, fig2@laptop"):
        results.trials("fig2")
    with pytest.raises(ConfigError, match="no experiment 'fig'"):
        results.members("fig")
    put(store, layout.members("fig2"), tables.MEMBERS, row | {"experiment": "fig2"})
    assert results.members("fig2")["experiment"].tolist() == ["fig2"]


def test_a_snapshot_stays_as_it_was_first_read(store: LocalStore):
    snapshot = Snapshot(store)
    before = snapshot.metrics("figure-9")
    read = snapshot.metrics("figure-9")
    read["test_loss"] = 9.0  # what a caller changes is its own
    put_trial(store, "c", epochs=2)
    pd.testing.assert_frame_equal(snapshot.metrics("figure-9"), before)
    assert len(Results(store).metrics("figure-9")) == len(before) + 1
