"""Exported files hold what Results shows, whole or not at all, and replace nothing unasked."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from small_stores import contents
from tensorboardX.proto import event_pb2, plugin_hparams_pb2

from results_schema import layout, tables
from results_schema.results import Results

PARTS = ("members", "metrics", "trials")
EVENTS: Any = event_pb2
HYPERPARAMETERS: Any = plugin_hparams_pb2


def read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype=str) if path.suffix == ".csv" else pd.read_parquet(path)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_hold_what_results_shows(run, trained, tmp_path, form):
    trained.cut_off(trained.ids[0], rows=1)
    before = contents(trained.store)
    code, output, _ = run("export", "small.yaml", "--to", "a/b", "--format", form)
    assert code == 0
    assert f"small-metrics.{form}: 5 rows" in output
    results = Results(trained.store)
    for part in PARTS:
        shown = getattr(results, part)("small")
        written = read(tmp_path / f"a/b/small-{part}.{form}")
        assert list(written.columns) == list(shown.columns)
        if form == "csv":  # which has texts alone
            shown = shown.map(lambda value: "" if pd.isna(value) else str(value))
            written = written.fillna("")
        pd.testing.assert_frame_equal(written, shown, check_exact=True, check_dtype=form != "csv")
    files = sorted(path.stem for path in (tmp_path / "a/b").iterdir())
    assert files == [f"small-{part}" for part in PARTS]
    assert contents(trained.store) == before


def test_csv_holds_no_formula(run, trained, tmp_path):
    key = layout.members("small")
    rows = tables.from_parquet(trained.store.get(key), tables.MEMBERS, key).to_pylist()
    rows = [row | {"variant": "=HYPERLINK(1)"} for row in rows]
    trained.store.put(key, tables.to_parquet(rows, tables.MEMBERS))
    assert run("export", "small", "--to", "out", "--format", "csv")[0] == 0
    for part in PARTS:
        assert set(read(tmp_path / f"out/small-{part}.csv")["variant"]) == {"'=HYPERLINK(1)"}


def records(data: bytes) -> Iterator[bytes]:
    """The contents of TFRecords, whose checksums are computed bit by bit."""
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        content = data[12 : 12 + size]
        for part, sums in ((data[:8], data[8:12]), (content, data[12 + size : 16 + size])):
            crc = 0xFFFFFFFF
            for byte in part:
                crc ^= byte
                for _ in range(8):
                    crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
            crc ^= 0xFFFFFFFF
            masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
            assert struct.unpack("<I", sums) == (masked,)
        yield content
        data = data[16 + size :]


def test_tensorboard_gets_a_run_a_trial_with_hyperparameters(run, trained, tmp_path):
    assert run("export", "small", "--to", "runs", "--format", "tensorboard")[0] == 0
    metrics = Results(trained.store).metrics("small")
    assert sorted(p.name for p in (tmp_path / "runs/small").iterdir()) == sorted(trained.ids)
    for trial_id, rows in metrics.groupby("trial_id"):
        [path] = (tmp_path / "runs/small" / str(trial_id)).iterdir()
        assert ".tfevents." in path.name
        events = [EVENTS.Event.FromString(data) for data in records(path.read_bytes())]
        assert events[0].file_version == "brain.Event:2"
        losses = {e.step: v.simple_value for e in events for v in e.summary.value
                  if v.tag == "test_loss"}  # fmt: skip
        assert losses == pytest.approx(dict(zip(rows["epoch"], rows["test_loss"], strict=True)))
        [start] = [v.metadata.plugin_data.content for e in events for v in e.summary.value
                   if v.tag == "_hparams_/session_start_info"]  # fmt: skip
        found = HYPERPARAMETERS.HParamsPluginData.FromString(start).session_start_info.hparams
        assert found["seed"].number_value == rows["seed"].iloc[0]
        assert found["base"].string_value == "DARTS"
    assert run("export", "small", "--to", "runs", "--format", "tensorboard")[0] == 2


def test_a_figure_is_exported_as_one_page_of_any_size(run, trained, tmp_path):
    key = layout.experiment("small")
    declared = json.loads(trained.store.get(key))
    declared["figures"] = {"f": {"kind": "accuracy_by_index", "title": "Mine"}}
    trained.store.put(key, json.dumps(declared).encode())
    small = ("--figure", "f", "--size", "column", "--untitled")
    code, output, _ = run("export", "small", "--to", "a/b", *small)
    assert (code, output.strip()) == (0, "a/b/f.html")
    page = (tmp_path / "a/b/f.html").read_text()
    assert len(page) > 1_000_000, "the page needs no other file"
    assert "width:353px" in page
    assert "<b>Mine</b>" not in page
    for words, problem in (
        (small, "--force"),
        (("--figure", "g"), "no figure 'g'"),
        (("--figure", "f", "--format", "csv"), "no format csv"),
        (("--size", "page"), "--size: this is for figures alone\n  name one: --figure NAME"),
        (("--format", "png", "--untitled"), "--format png, --untitled: this is for figures"),
    ):
        code, _, errors = run("export", "small", "--to", "a/b", *words)
        assert (code, problem in errors) == (2, True), errors


def test_what_is_there_is_replaced_only_by_force(run, trained, tmp_path):
    assert run("export", "small", "--to", "out")[0] == 0
    schema = pq.read_schema(tmp_path / "out/small-metrics.parquet")
    assert schema.field("seconds").metadata[b"unit"] == b"s"
    assert schema.field("index").metadata[b"doc"]
    mine = tmp_path / "out/small-trials.parquet"
    mine.write_text("mine")
    (tmp_path / "out/small-members.parquet").unlink()
    code, _, errors = run("export", "small", "--to", "out")
    assert code == 2
    assert "small-trials.parquet" in errors
    assert "--force" in errors
    assert mine.read_text() == "mine"
    assert not (tmp_path / "out/small-members.parquet").exists()
    assert run("export", "small", "--to", "out", "--force")[0] == 0
    assert len(pd.read_parquet(mine)) == 3


def test_a_folder_that_cannot_be_is_told_and_nothing_is_left(run, trained, tmp_path):
    (tmp_path / "file").write_text("in the way")
    before = contents(trained.store)
    for to, exit_code in (("file/below", 3), ("results/../results/x", 2), ("results/metrics", 2)):
        code, _, errors = run("export", "small", "--to", to)
        assert code == exit_code
        assert "can't be written" in errors or "is in the store" in errors
    assert contents(trained.store) == before
    (tmp_path / "out/small-trials.parquet").mkdir(parents=True)
    assert run("export", "small", "--to", "out", "--force")[0] == 3
    assert not list((tmp_path / "out").glob(".*"))


@pytest.mark.parametrize("words", [("smal",), ("",), ("small", "--format", "numpy")])
def test_an_unknown_experiment_or_one_without_surfaces_writes_nothing(
    run, trained, tmp_path, words
):
    assert run("export", *words, "--to", "out")[0] == 2
    assert not (tmp_path / "out").exists()
