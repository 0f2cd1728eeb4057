"""The reader's way: frames joined with an experiment's names, right while a sweep is running."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from results_schema import layout, tables
from results_schema.errors import ConfigError, CorruptData, StoreError
from results_schema.results import Results
from results_schema.store import LocalStore, open_store

NOON = datetime(2020, 4, 26, 12, tzinfo=UTC)


def row(schema: pa.Schema, **given: Any) -> dict[str, Any]:
    """A row of the given values, and of others that fit where none is given."""
    fit: list[tuple[Callable[[pa.DataType], bool], Any]] = [
        (pa.types.is_floating, 0.5),
        (pa.types.is_integer, 3),
        (pa.types.is_boolean, False),
        (pa.types.is_timestamp, NOON),
        (pa.types.is_string, "x"),
    ]
    return {f.name: next(v for fits, v in fit if fits(f.type)) for f in schema} | given


def put_members(store: LocalStore, experiment: str, **trials: str) -> None:
    """Writes which variant (the name) is which trial (the value)."""
    rows = [
        row(tables.MEMBERS, experiment=experiment, variant=variant, index=index, trial_id=trial)
        for index, (variant, trial) in enumerate(trials.items())
    ]
    store.put(layout.members(experiment), tables.to_parquet(rows, tables.MEMBERS))


def put_trial(store: LocalStore, trial: str, epochs: int = 2, ended: bool = True) -> None:
    rows = [
        row(tables.METRICS, trial_id=trial, epoch=epoch, test_loss=1 / epoch)
        for epoch in range(1, epochs + 1)
    ]
    store.put(layout.metrics(trial), tables.to_parquet(rows, tables.METRICS))
    if ended:
        rows = [row(tables.TRIALS, trial_id=trial, epochs=epochs, status="done", cuda=None)]
        store.put(layout.trial(trial), tables.to_parquet(rows, tables.TRIALS))


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
    assert list(metrics.columns) == tables.METRICS.names
    assert list(results.trials().columns) == tables.TRIALS.names
    assert list(results.members().columns) == tables.MEMBERS.names


def test_an_experiments_members_come_in_its_order(results: Results):
    members = results.members("figure-9")
    assert members["variant"].tolist() == ["DARTS", "random1", "random2", "random3"]
    assert members["trial_id"].tolist() == ["a", "b", "c", "d"]


def test_every_member_has_a_row_trained_or_not(results: Results):
    trials = results.trials("figure-9")
    assert trials["variant"].tolist() == ["DARTS", "random1", "random2", "random3"]
    assert trials["status"].fillna("-").tolist() == ["done", "done", "-", "-"]
    assert trials["epochs"].fillna(-1).tolist() == [3, 2, -1, -1]
    assert trials["started_at"].isna().tolist() == [False, False, True, True]


def test_metrics_carry_the_members_names(results: Results):
    metrics = results.metrics("figure-9")
    assert metrics["variant"].tolist() == ["DARTS"] * 3 + ["random1"] * 2 + ["random2"]
    assert metrics["epoch"].tolist() == [1, 2, 3, 1, 2, 1]
    assert metrics["test_loss"].tolist() == [1, 1 / 2, 1 / 3, 1, 1 / 2, 1]


def test_a_shared_trial_appears_once_for_each_member(results: Results):
    assert results.trials("figure-10")["variant"].tolist() == ["DARTS", "again"]
    metrics = results.metrics("figure-10")
    assert metrics.groupby("variant")["epoch"].apply(list).to_dict() == {
        "DARTS": [1, 2],
        "again": [1, 2],
    }


def test_joined_columns_are_the_members_and_then_the_others_each_once(results: Results):
    for frame, schema in (
        (results.trials("figure-9"), tables.TRIALS),
        (results.metrics("figure-9"), tables.METRICS),
    ):
        fresh = [name for name in schema.names if name not in tables.MEMBERS.names]
        assert list(frame.columns) == tables.MEMBERS.names + fresh


def test_types_are_those_of_the_tables(results: Results):
    for metrics in (results.metrics(), results.metrics("figure-9")):
        assert metrics["epoch"].dtype == np.int32
        assert metrics["test_loss"].dtype == np.float64
        assert metrics["finished_at"].dtype == pd.DatetimeTZDtype("us", "UTC")
        assert set(metrics["finished_at"]) == {pd.Timestamp(NOON)}
        assert pd.api.types.is_string_dtype(metrics["trial_id"])
    trials = results.trials()
    assert trials["parameters"].dtype == np.int64
    assert trials["started_at"].dtype == pd.DatetimeTZDtype("us", "UTC")
    assert trials["cuda"].isna().tolist() == [True] * 3
    assert results.members()["index"].dtype == np.int32


@pytest.mark.parametrize("opened", [True, False])
def test_an_empty_store_gives_empty_frames_with_every_column(tmp_path: Path, opened: bool):
    if opened:
        open_store(tmp_path)
    results = Results(tmp_path)
    assert results.experiments() == []
    for frame, schema in (
        (results.metrics(), tables.METRICS),
        (results.trials(), tables.TRIALS),
        (results.members(), tables.MEMBERS),
    ):
        assert (len(frame), list(frame.columns)) == (0, schema.names)
    metrics = results.metrics()
    assert metrics["epoch"].dtype == np.int32
    assert metrics["finished_at"].dtype == pd.DatetimeTZDtype("us", "UTC")


def test_an_experiment_of_which_nothing_is_trained_has_members_and_no_metrics(store: LocalStore):
    put_members(store, "new", DARTS="f", random1="g")
    results = Results(store)
    assert len(results.metrics("new")) == 0
    assert "finished_at" in results.metrics("new").columns
    trials = results.trials("new")
    assert trials["trial_id"].tolist() == ["f", "g"]
    assert trials["status"].isna().tolist() == trials["test_accuracy"].isna().tolist() == [True] * 2


def test_reading_writes_nothing(store: LocalStore):
    def state() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}

    before = state()
    results = Results(store.root)
    results.metrics("figure-9")
    results.trials()
    assert state() == before


@pytest.mark.parametrize("name", ["figure-8", "figure-9.parquet", "0-schema", "", "../members"])
def test_an_unknown_experiment_is_told_with_those_that_are_known(results: Results, name: str):
    for read in (results.members, results.metrics, results.trials):
        with pytest.raises(ConfigError, match=r"it has figure-9, figure-10") as caught:
            read(name)
        assert repr(name) in caught.value.what


def test_an_unknown_experiment_of_an_empty_store_is_told(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"no experiment 'figure-9'\n  it has none yet"):
        Results(tmp_path).metrics("figure-9")


def test_a_missing_store_is_told(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    for location in (tmp_path / "none", str(tmp_path / "file")):
        with pytest.raises(StoreError, match="there is no store here") as caught:
            Results(location)
        assert caught.value.where == str(location)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "other"])
def test_a_damaged_file_is_named(store: LocalStore, damage: str):
    key = layout.metrics("b")
    sound = store.get(key)
    store.put(
        key,
        {
            "cut": sound[:-20],
            "flipped": sound[:99] + bytes([sound[99] ^ 1]) + sound[100:],
            "empty": b"",
            "other": b"epoch,loss\n1,0.5\n",
        }[damage],
    )
    for read in (Results(store).metrics, lambda: Results(store).metrics("figure-9")):
        with pytest.raises(CorruptData, match=r"metrics/b\.parquet: not a sound metrics") as caught:
            read()
        assert "launch again" in caught.value.fix
    assert caught.value.exit_code == 3


def test_damage_elsewhere_does_not_keep_an_experiment_from_being_read(store: LocalStore):
    store.put(layout.metrics("e"), b"PAR1")
    assert len(Results(store).metrics("figure-9")) == 6
    assert len(Results(store).trials()) == 3


class Vanishing(LocalStore):
    """A store in which another process deletes a file just before it is read."""

    def __init__(self, root: Path, key: str) -> None:
        super().__init__(root)
        self._key = key

    def get(self, key: str, *, most: int | None = None) -> bytes:
        if key == self._key:
            self.delete(key)
        return super().get(key, most=most)


def test_a_file_that_vanishes_after_it_was_listed_is_left_out(store: LocalStore):
    results = Results(Vanishing(store.root, layout.metrics("b")))
    assert set(results.metrics("figure-9")["trial_id"]) == {"a", "c"}
    results = Results(Vanishing(store.root, layout.trial("b")))
    assert results.trials("figure-9")["status"].notna().tolist() == [True, False, False, False]
    results = Results(Vanishing(store.root, layout.members("figure-10")))
    assert set(results.members()["experiment"]) == {"figure-9"}


def test_what_is_no_table_of_ours_is_left_alone(store: LocalStore):
    expected = {folder: len(store.list(folder)) for folder in ("metrics/", "trials/", "members/")}
    for folder in expected:
        for name in (".nfs0001", ".x.parquet", "_x.json", "notes.txt", "b.parquet.bak", "my b~"):
            (store.root / folder / name).write_bytes(b"no table")
    (store.root / ".staging/0123.parquet").write_bytes(b"no table")
    results = Results(store.root)
    assert results.experiments() == ["figure-9", "figure-10"]
    assert (len(results.metrics()), len(results.trials()), len(results.members())) == (8, 3, 6)


def test_a_row_of_a_live_run_is_there_as_soon_as_it_is_put(store: LocalStore, results: Results):
    for epochs in range(2, 6):
        put_trial(store, "c", epochs, ended=False)
        metrics = results.metrics("figure-9")
        assert metrics["epoch"][metrics["trial_id"] == "c"].tolist() == list(range(1, epochs + 1))


def foreign(writer: str, frame: pd.DataFrame, path: Path) -> None:
    """Writes a table as others do, without a seal."""
    match writer:
        case "pandas":
            frame.to_parquet(path)
        case "pandas, wide types, other order":
            wide = frame.assign(
                epoch=frame["epoch"].astype("int64"),
                trial_id=frame["trial_id"].astype("category"),
                finished_at=frame["finished_at"].dt.as_unit("ns").dt.tz_convert("Asia/Tokyo"),
                remark="mine",
            )
            wide[wide.columns[::-1]].to_parquet(path, index=True)
        case "pyarrow":
            pq.write_table(pa.Table.from_pandas(frame), path, compression="gzip")


@pytest.mark.parametrize("writer", ["pandas", "pandas, wide types, other order", "pyarrow"])
def test_a_table_that_somebody_else_wrote_is_read(store: LocalStore, writer: str):
    expected = Results(store).metrics("figure-9")
    path = store.root / layout.metrics("b")
    frame = pd.read_parquet(path)
    path.unlink()
    foreign(writer, frame, path)
    pd.testing.assert_frame_equal(Results(store).metrics("figure-9"), expected)


def test_a_sealed_table_that_pyarrow_rewrote_is_read(store: LocalStore):
    expected = Results(store).metrics()
    path = store.root / layout.metrics("b")
    pq.write_table(pq.read_table(path), path)
    pd.testing.assert_frame_equal(Results(store).metrics(), expected)
