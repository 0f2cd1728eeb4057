"""Stamps tell of every file that a store puts or removes, without a read."""

import pytest

from orchestrator.dash.stamps import WATCHED, folder_stamps, table_stamps
from results_schema import layout
from results_schema.store import LocalStore


@pytest.mark.parametrize("folder", [layout.METRICS, layout.POINTS, layout.FAILURES])
def test_a_file_that_is_put_or_removed_changes_its_folders_stamp_alone(tmp_path, folder):
    store = LocalStore(tmp_path / "s")
    seen = [folder_stamps(store)]
    # Twice to the same key: a file that takes another's place is told of too.
    for data in (b"1", b"2", None):
        before = seen[-1]
        while before == (after := folder_stamps(store)):  # a tick of the clock may pass between
            if data is None:
                store.delete(f"{folder}x.parquet")
                store.put(f"{folder}y.parquet", b"")
            else:
                store.put(f"{folder}x.parquet", data)
        assert {name for name in WATCHED if before[name] != after[name]} == {folder}
        seen.append(after)


def test_tables_are_told_by_id_without_the_one_that_has_no_rows(trained):
    assert set(table_stamps(trained.store, layout.METRICS)) == set(trained.ids)
    assert table_stamps(trained.store, "nothing/") == {}
