"""Curves in memory: only what changed is read again, and damage costs its own trial alone."""

import os
from pathlib import Path

import numpy as np
import pytest

from orchestrator.dash.curves import COLUMNS, Curves
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store


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


def test_every_trial_has_its_columns(trained):
    curves = Curves(trained.store)
    curves.look()
    assert set(curves.of) == set(trained.ids)
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    for name in ("epoch", *COLUMNS):
        assert curves.of[trained.ids[0]][name].tolist() == table[name].to_pylist()


def test_only_files_that_changed_are_read_again(trained, reads):
    curves = Curves(trained.store)
    curves.look()
    assert len(reads) == 3
    curves.look()
    assert (len(reads), curves.version) == (3, 1)
    trained.cut_off(trained.ids[1], rows=1)
    reads.clear()
    curves.look()
    assert reads == [layout.metrics(trained.ids[1])]
    assert curves.version == 2
    assert curves.of[trained.ids[1]]["epoch"].tolist() == [1]


def test_a_trial_that_is_removed_goes(trained):
    curves = Curves(trained.store)
    curves.look()
    trained.store.delete(layout.metrics(trained.ids[2]))
    curves.look()
    assert trained.ids[2] not in curves.of


def test_damage_is_told_and_what_was_read_stays(trained):
    curves = Curves(trained.store)
    curves.look()
    path = trained.store.root / layout.metrics(trained.ids[0])
    sound = path.read_bytes()
    path.write_bytes(sound[:-50])
    curves.look()
    assert list(curves.damaged) == [trained.ids[0]]
    assert len(curves.of[trained.ids[0]]["epoch"]) == 2
    path.write_bytes(sound)
    os.utime(path, (1, 1))
    curves.look()
    assert not curves.damaged


def test_a_column_that_an_older_release_lacked_is_nan(trained):
    key = layout.metrics(trained.ids[0])
    table = tables.from_parquet(trained.store.get(key), tables.METRICS, key)
    table.drop_columns(["clip_rate"]).to_pandas().to_parquet(trained.store.root / key)
    curves = Curves(trained.store)
    curves.look()
    assert np.isnan(curves.of[trained.ids[0]]["clip_rate"]).all()


def test_an_empty_store_has_no_curve(tmp_path: Path):
    curves = Curves(open_store(tmp_path / "empty"))
    curves.look()
    assert (curves.of, curves.version) == ({}, 0)
