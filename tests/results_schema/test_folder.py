"""The store in a folder: the contract of every store, and what only a folder can suffer."""

import errno
import os
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pandas as pd
import pytest
from clocks import Clock

from results_schema import layout, tables
from results_schema.errors import LinkRefused, MissingKey, StoreError, StoreFull, Superseded
from results_schema.folder.files import Folder
from results_schema.folder.store import FolderLease, FolderLeases
from results_schema.lease import Lease
from results_schema.program import Metric, added_metrics, widen
from results_schema.store import LocalStore, Store, existing_store, open_store
from tests.results_schema.store_contract import (
    PLAIN,
    SAMPLE,
    TRIAL,
    ConcurrencyContract,
    StoreContract,
    take,
)


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> LocalStore:
    store = LocalStore(tmp_path / "results")
    store.leases = FolderLeases(store.root, clock)
    return store


def files(store: LocalStore) -> list[str]:
    """Every file below the store's folder, staged and hidden ones too."""
    return sorted(
        path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()
    )


class TestLocalStore(StoreContract, ConcurrencyContract):
    def spoil(self, store: Store, lease: Lease, text: bytes) -> None:
        assert isinstance(lease, FolderLease)
        (lease.folder / "heartbeat").write_bytes(text)


def test_a_folder_in_the_place_of_a_file_is_refused_and_never_passed_over(store: LocalStore):
    (store.root / SAMPLE).mkdir(parents=True)
    (store.root / SAMPLE / "inside").write_bytes(b"")
    lease = take(store)
    uses: list[Callable[[], object]] = [
        lambda: store.get(SAMPLE),
        lambda: list(store.several([SAMPLE])),
        lambda: store.has(SAMPLE),
        lambda: store.stat(SAMPLE),
        lambda: store.put(SAMPLE, b""),
        lambda: store.delete(SAMPLE),
        lambda: store.list("trials/"),
        lambda: store.stats("trials/"),
    ]
    for use in uses:
        with pytest.raises(StoreError, match=rf"{SAMPLE}: .*\n  .*move it") as caught:
            use()
        assert not isinstance(caught.value, MissingKey)
    with pytest.raises(StoreError, match=SAMPLE):
        store.delete(SAMPLE, lease=lease)
    assert (store.root / SAMPLE / "inside").exists()
    assert lease.beat()


def test_nothing_is_left_but_the_files_that_were_put(store: LocalStore):
    for data in (b"one", b"two"):
        store.put(SAMPLE, data)
    assert files(store) == [SAMPLE]
    lease = take(store)
    before = files(store)
    for under in (None, lease):
        for key in (layout.state(TRIAL, 1), PLAIN):
            store.put(key, b"", lease=under)
            store.delete(key, lease=under)
        assert files(store) == before
        # The folder of a checkpoint goes with its last file, that of a table stays.
        assert not (store.root / layout.checkpoints(TRIAL)).joinpath("epoch-00001").exists()
        assert (store.root / "members").is_dir()


def test_no_descriptor_stays_open(store: LocalStore):
    def use() -> int:
        store.put(layout.state(TRIAL, 1), b"one", durable=True)
        store.get(layout.state(TRIAL, 1))
        store.stats("trials/")
        with take(store) as lease:
            store.delete(layout.state(TRIAL, 1), lease=lease)
        return len(list(Path("/proc/self/fd").iterdir()))

    assert use() == use()


def test_a_link_is_refused_by_its_path(store: LocalStore):
    store.put(SAMPLE, b"")
    link = store.root / "trials/link.parquet"
    link.symlink_to(SAMPLE)
    for use in (store.get, lambda key: store.put(key, b"x")):
        with pytest.raises(LinkRefused) as caught:
            use("trials/link.parquet")
        assert caught.value.where == str(link)


def test_what_other_programs_leave_behind_is_not_listed(store: LocalStore):
    store.put(SAMPLE, b"")
    for name in (".DS_Store", ".nfs000000000000001d", "._x.parquet", "my notes.txt", "x~"):
        (store.root / "trials" / name).write_bytes(b"")
    (store.root / "trials/.ipynb_checkpoints").mkdir()
    (store.root / "trials/.ipynb_checkpoints/x.parquet").write_bytes(b"")
    assert store.list("trials/") == list(store.stats("trials/")) == [SAMPLE]


def test_a_path_is_given_relative_to_the_current_folder(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    assert store.locate(SAMPLE) == str(store.root / SAMPLE)
    monkeypatch.chdir(store.root.parent)
    assert store.locate(SAMPLE) == f"results/{SAMPLE}"


def test_a_durable_put_syncs_the_file_before_the_rename_and_the_folders_after(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    done: list[str] = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(handle: int) -> None:
        fsync(handle)
        done.append(str(Path(f"/proc/self/fd/{handle}").readlink()))

    def note_replace(source: str, target: str, **folders: int) -> None:
        done.append("rename")
        replace(source, target, **folders)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    key = layout.state(TRIAL, 1)
    store.put(key, b"", durable=True)
    staged, rename, *folders = done
    assert Path(staged).parent == store.root / ".staging"
    assert rename == "rename"
    # The file's folder, and every folder that got a new folder, up to the one around the store.
    assert set(folders) == {str(path) for path in (store.root / key).parents[:5]}
    done.clear()
    store.put(key, b"")
    assert done == ["rename"]


def test_pandas_reads_the_tables_from_the_moment_the_store_is_open(tmp_path: Path):
    store = open_store(tmp_path / "new/results")
    before = {path: path.stat().st_mtime_ns for path in store.root.rglob("*")}
    assert open_store(store.root).root == store.root
    assert {path: path.stat().st_mtime_ns for path in store.root.rglob("*")} == before
    for folder, schema in tables.OPENED.items():
        frame = pd.read_parquet(store.root / folder)
        assert (len(frame), list(frame.columns)) == (0, schema.names)


@pytest.mark.parametrize("damaged", [False, True])
def test_an_older_releases_columns_are_brought_up_to_date(tmp_path: Path, damaged: bool):
    store, key = open_store(tmp_path), layout.schema(layout.METRICS)
    older = tables.METRICS.remove(5)
    store.put(key, b"PAR1" if damaged else tables.to_parquet([], older))
    open_store(tmp_path)
    assert list(pd.read_parquet(tmp_path / "metrics").columns) == tables.METRICS.names


def test_columns_that_a_program_adds_while_the_store_is_made_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    get, metric = LocalStore._get, Metric("reward")

    def get_then_widen(store: LocalStore, key: str, most: int | None) -> bytes:
        try:
            return get(store, key, most)
        finally:
            if key == layout.schema(layout.POINTS):  # the last table but one
                monkeypatch.setattr(LocalStore, "_get", get)
                widen(LocalStore(store.root), [metric])

    monkeypatch.setattr(LocalStore, "_get", get_then_widen)
    store = open_store(tmp_path / "results")
    assert added_metrics(store) == {"reward": metric}
    assert pd.read_parquet(store.root / "trials").columns[-1] == "reward"
    assert store.leases.held() == {}


def test_a_place_that_is_no_store_is_refused(tmp_path: Path):
    for location in ("gs://x", "file:///results", ""):
        with pytest.raises(StoreError, match="use --store with a path") as caught:
            open_store(location)
        assert caught.value.where == location
    path = tmp_path / "results.csv"
    path.write_bytes(b"a,b")
    for below in ("", "deeper/still"):
        with pytest.raises(StoreError, match=r"results\.csv.*\n  a file is in the way"):
            open_store(path / below)
    assert path.read_bytes() == b"a,b"
    (tmp_path / "unmounted").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StoreError, match="unmounted"):
        open_store(tmp_path / "unmounted")
    with pytest.raises(StoreError, match="there is no store here") as caught:
        existing_store(tmp_path / "none")
    assert caught.value.where == str(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("leased", [False, True])
def test_a_put_whose_rename_fails_leaves_the_old_bytes_and_no_litter(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, leased: bool
):
    lease = take(store) if leased else None
    store.put(SAMPLE, b"old", lease=lease)
    before = files(store)

    def refuse(number: int) -> StoreError:
        def fail(*_: str, **folders: int) -> None:
            raise OSError(number, os.strerror(number))

        with monkeypatch.context() as patch, pytest.raises(StoreError, match=SAMPLE) as caught:
            patch.setattr(os, "replace", fail)
            store.put(SAMPLE, b"new", lease=lease)
        assert caught.value.what == os.strerror(number)
        assert not isinstance(caught.value, Superseded)
        assert (store.get(SAMPLE), files(store)) == (b"old", before)
        return caught.value

    assert "repair the store's file system" in refuse(errno.EIO).fix
    for number in (errno.ENOSPC, errno.EDQUOT):
        full = refuse(number)
        assert isinstance(full, StoreFull)
        assert "free some" in full.fix
        assert full.exit_code == 3
    store.put(SAMPLE, b"new", lease=lease)
    assert store.get(SAMPLE) == b"new"


@pytest.mark.parametrize("in_the_way", ["trials", ".staging", "."])
def test_a_file_in_the_way_of_a_folder_is_refused(store: LocalStore, in_the_way: str):
    path = store.root / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"mine")
    with pytest.raises(StoreError, match="a file is in the way") as caught:
        store.put(SAMPLE, b"")
    assert str(store.root) in caught.value.where
    assert path.read_bytes() == b"mine"
    assert not store.has(SAMPLE)
    with pytest.raises(MissingKey):
        store.get(SAMPLE)


def test_a_path_that_is_too_long_is_refused(tmp_path: Path):
    store = LocalStore(tmp_path.joinpath(*(21 * [200 * "x"])))
    for use in (lambda: store.put(SAMPLE, b""), lambda: store.has(SAMPLE)):
        with pytest.raises(StoreError, match=r"File name too long\n  use --store with a shorter"):
            use()


def test_an_error_comes_whole_out_of_another_process():
    tell, hear = Pipe()
    tell.send(StoreFull("no room", where="results", fix="make some"))
    received = hear.recv()
    assert isinstance(received, StoreFull)
    assert (received.what, received.where, received.fix) == ("no room", "results", "make some")
    assert str(received) == "results: no room\n  make some"


# Leases

HALFWAY = ["taken over", "being taken over"]
"""A successor has removed the lease's folder and written; or has emptied it, to remove it next."""


def replaced_halfway(store: LocalStore, monkeypatch: pytest.MonkeyPatch, moment: str) -> Lease:
    """A lease that is taken over just after its next write has staged a file."""
    old, write = take(store, token="old"), Folder.write
    store.put(SAMPLE, b"old", lease=old)

    def write_late(at: Folder, name: str, data: bytes, **how: bool) -> None:
        monkeypatch.setattr(Folder, "write", write)
        write(at, name, data, **how)
        if moment == "taken over":
            store.leases.fence(TRIAL, "old")
            store.put(SAMPLE, b"new", lease=take(store, token="new"))
        else:
            os.unlink(name, dir_fd=at.handle)

    monkeypatch.setattr(Folder, "write", write_late)
    return old


@pytest.mark.parametrize("moment", HALFWAY)
def test_a_holder_replaced_halfway_through_a_write_writes_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, moment: str
):
    old = replaced_halfway(store, monkeypatch, moment)
    with pytest.raises(Superseded, match=f"another worker has taken over {TRIAL}"):
        store.put(SAMPLE, b"late", lease=old)
    assert store.get(SAMPLE) == (b"new" if moment == "taken over" else b"old")
    assert [name for name in files(store) if not name.startswith("leases/")] == [SAMPLE]


def test_a_holder_replaced_just_before_it_deletes_removes_nothing_of_its_successors(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    old = replaced_halfway(store, monkeypatch, "taken over")
    with pytest.raises(Superseded, match=f"another worker has taken over {TRIAL}"):
        store.delete(SAMPLE, lease=old)
    assert store.get(SAMPLE) == b"new"


def test_a_holder_whose_successor_has_yet_to_begin_may_delete(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    store.delete(SAMPLE, lease=replaced_halfway(store, monkeypatch, "being taken over"))
    store.leases.fence(TRIAL, "old")
    assert not store.has(SAMPLE)


def test_who_has_lost_the_lease_makes_no_folder_either(store: LocalStore):
    lease = take(store)
    store.leases.fence(TRIAL, lease.token)
    with pytest.raises(Superseded):
        store.put(layout.state(TRIAL, 1), b"", lease=lease)
    assert not (store.root / "checkpoints").exists()


def test_a_failing_disk_and_a_vanished_folder_are_no_lost_lease(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    lease = take(store)

    def fail(path: str, **_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        store.delete(SAMPLE, lease=lease)  # there is nothing to remove
    store.put(SAMPLE, b"mine", lease=lease)
    store.delete(SAMPLE)
    (store.root / "trials").rmdir()
    store.put(SAMPLE, b"again", lease=lease)
    assert store.get(SAMPLE) == b"again"


def test_a_released_lease_leaves_nothing(store: LocalStore):
    with take(store):
        pass
    assert list((store.root / "leases").rglob("*")) == []


@pytest.mark.parametrize("left", ["{item}/", ".new-0123/token/"])
def test_what_a_taker_or_holder_left_that_crashed_is_no_lease(store: LocalStore, left: str):
    (store.root / "leases" / left.format(item=TRIAL)).mkdir(parents=True)
    assert store.leases.held() == {}
    take(store)
    assert set(store.leases.held()) == {TRIAL}


@pytest.mark.parametrize("stray", [".DS_Store", "stray/", "token/stray", "token/folder/stray"])
def test_what_others_leave_in_a_lease_goes_when_it_expires(
    store: LocalStore, clock: Clock, stray: str
):
    path = store.root / "leases" / TRIAL / stray
    path.parent.mkdir(parents=True)
    if stray.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(b"")
    assert store.leases.take(TRIAL) is None
    clock.now += 60
    take(store)


def test_a_stray_file_beside_a_silent_holder_does_not_keep_it_alive(
    store: LocalStore, clock: Clock
):
    lease = take(store)
    assert isinstance(lease, FolderLease)
    (lease.folder / "heartbeat").unlink()
    for name in (".DS_Store", "Thumbs.db"):
        (lease.folder.parent / name).write_bytes(b"")
    for _ in range(3):  # each of the three is watched in its turn
        assert not store.leases.free(TRIAL)
        clock.now += 60
    take(store)


def test_a_file_in_the_place_of_leases_is_refused(store: LocalStore):
    path = store.root / "leases" / TRIAL
    path.parent.mkdir(parents=True)
    path.write_bytes(b"mine")
    assert store.leases.held() == {}
    with pytest.raises(StoreError, match=rf"{TRIAL}: Not a directory\n  a file is in the way"):
        take(store)
    assert files(store) == [f"leases/{TRIAL}"]
    path.unlink()
    path.parent.rmdir()
    path.parent.write_bytes(b"mine")
    assert store.leases.held() == {}
    with pytest.raises(StoreError, match="a file is in the way"):
        take(store)
