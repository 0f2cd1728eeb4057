"""The store in a folder: the contract of every store, and what only a folder can suffer."""

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path

import pandas as pd
import pytest

from results_schema import layout, tables
from results_schema.errors import MissingKey, StoreError, StoreFull, Superseded, store_error
from results_schema.folder_files import Folder
from results_schema.store import LocalStore, open_store
from tests.results_schema.store_contract import SAMPLE, TRIAL, StoreContract

TABLES = [
    (layout.METRICS, tables.METRICS),
    (layout.TRIALS, tables.TRIALS),
    (layout.MEMBERS, tables.MEMBERS),
]


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "results")


def files(store: LocalStore) -> list[str]:
    """Every file below the store's folder, staged and hidden ones too."""
    return sorted(
        path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()
    )


class TestLocalStore(StoreContract):
    pass


def test_a_folder_in_the_place_of_a_file_is_refused_and_never_passed_over(store: LocalStore):
    (store.root / SAMPLE).mkdir(parents=True)
    (store.root / SAMPLE / "inside").write_bytes(b"")
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
    assert (store.root / SAMPLE / "inside").exists()


WRITER = """
import sys
from results_schema.store import LocalStore
store, key = LocalStore(sys.argv[1]), sys.argv[2]
store.put(key, b"0" * 200_000)
print("ready", flush=True)
number = 0
while True:
    number = (number + 1) % 10
    store.put(key, b"%d" % number * 200_000)
"""


def test_another_processs_writes_are_never_seen_torn_even_if_it_is_killed(store: LocalStore):
    command = [sys.executable, "-c", WRITER, str(store.root), SAMPLE]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        seen = set()
        end = time.monotonic() + 30
        while len(seen) < 4 and time.monotonic() < end:
            data = store.get(SAMPLE)
            assert data == data[:1] * 200_000
            seen.add(data)
            assert store.list("trials/") == [SAMPLE]
        writer.kill()
        writer.wait()
        data = store.get(SAMPLE)
        assert data == data[:1] * 200_000
        assert store.list("trials/") == [SAMPLE]
    assert len(seen) == 4


def test_a_checkpoints_folder_goes_with_its_last_file(store: LocalStore):
    store.put(layout.attempts(TRIAL), b"{}")
    for key in (layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)):
        store.put(key, b"")
    store.delete(layout.state(TRIAL, 1))
    store.delete(layout.tensors(TRIAL, 1))
    assert [path.name for path in (store.root / layout.checkpoints(TRIAL)).iterdir()] == [
        "attempts.json"
    ]


def test_a_tables_folder_stays_when_it_is_empty(store: LocalStore):
    store.put(SAMPLE, b"")
    store.delete(SAMPLE)
    assert (store.root / "trials").is_dir()


def test_what_other_programs_leave_behind_is_not_listed(store: LocalStore):
    store.put(SAMPLE, b"")
    for name in (".DS_Store", ".nfs000000000000001d", "._x.parquet", "my notes.txt", "x~"):
        (store.root / "trials" / name).write_bytes(b"")
    (store.root / "trials/.ipynb_checkpoints").mkdir()
    (store.root / "trials/.ipynb_checkpoints/x.parquet").write_bytes(b"")
    assert store.list("trials/") == [SAMPLE]


def test_a_put_leaves_nothing_but_its_file(store: LocalStore):
    store.put(SAMPLE, b"one")
    store.put(SAMPLE, b"two")
    assert files(store) == [SAMPLE]


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


def test_who_has_lost_the_lease_makes_no_folder_either(store: LocalStore):
    lease = store.leases.take(TRIAL)
    assert lease is not None
    store.leases.fence(TRIAL, lease.token)
    with pytest.raises(Superseded):
        store.put(layout.state(TRIAL, 1), b"", lease=lease)
    assert not (store.root / "checkpoints").exists()


def test_a_file_deleted_under_a_lease_leaves_nothing(store: LocalStore):
    lease = store.leases.take(TRIAL)
    assert lease is not None
    before = files(store)
    for key in (layout.state(TRIAL, 1), SAMPLE):
        store.put(key, b"")
        store.delete(key, lease=lease)
    assert files(store) == before
    assert not (store.root / layout.checkpoints(TRIAL) / "epoch-00001").exists()


def test_a_folder_is_not_deleted_under_a_lease_either(store: LocalStore):
    lease = store.leases.take(TRIAL)
    assert lease is not None
    (store.root / SAMPLE).mkdir(parents=True)
    with pytest.raises(StoreError, match=SAMPLE):
        store.delete(SAMPLE, lease=lease)
    assert (store.root / SAMPLE).is_dir()
    assert lease.beat()


@pytest.mark.parametrize("moment", ["taken over", "being taken over"])
def test_a_holder_replaced_just_before_it_deletes_removes_nothing_of_its_successors(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, moment: str
):
    old = store.leases.take(TRIAL, "old")
    assert old is not None
    store.put(SAMPLE, b"old", lease=old)
    write = Folder.write

    def write_late(at: Folder, name: str, data: bytes) -> None:
        monkeypatch.setattr(Folder, "write", write)
        write(at, name, data)
        if moment == "taken over":
            store.leases.fence(TRIAL, "old")
            new = store.leases.take(TRIAL, "new")
            assert new is not None
            store.put(SAMPLE, b"new", lease=new)
        else:  # the successor has emptied the folder, and removes it next
            os.unlink(name, dir_fd=at.handle)

    monkeypatch.setattr(Folder, "write", write_late)
    if moment == "taken over":
        with pytest.raises(Superseded, match=f"another worker has taken over {TRIAL}"):
            store.delete(SAMPLE, lease=old)
        assert store.get(SAMPLE) == b"new"
    else:
        store.delete(SAMPLE, lease=old)
        store.leases.fence(TRIAL, "old")
        assert not store.has(SAMPLE), "its successor has yet to begin"


def test_a_disk_that_fails_just_then_is_no_lost_lease(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch
):
    lease = store.leases.take(TRIAL)
    assert lease is not None

    def fail(path: str, **_: object) -> None:
        raise OSError(errno.EIO, "Input/output error", path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", fail)
        store.delete(SAMPLE, lease=lease)  # there is nothing to remove
    store.put(SAMPLE, b"mine", lease=lease)
    assert store.get(SAMPLE) == b"mine"


def test_a_vanished_folder_is_made_again_and_is_no_lost_lease(store: LocalStore):
    lease = store.leases.take(TRIAL)
    assert lease is not None
    store.put(SAMPLE, b"", lease=lease)
    store.delete(SAMPLE)
    (store.root / "trials").rmdir()
    store.put(SAMPLE, b"again", lease=lease)
    assert store.get(SAMPLE) == b"again"


def test_pandas_reads_a_table_from_the_moment_the_store_is_open(tmp_path: Path):
    root = open_store(tmp_path / "new/results").root
    for table, schema in TABLES:
        frame = pd.read_parquet(root / table)
        assert (len(frame), list(frame.columns)) == (0, schema.names)


def test_pandas_reads_the_rows_of_every_experiment(tmp_path: Path):
    store = open_store(tmp_path)
    numbers = {"index": 0, "seed": 0, "depth": 3, "width_all_nodes": 2.5, "depth_all_nodes": 3}
    row = {f.name: numbers.get(f.name, "x") for f in tables.MEMBERS}
    for name in ("figure-9", "figure-10"):
        rows = [row | {"experiment": name, "learning_rate": 0.1, "width": 2.5}]
        store.put(layout.members(name), tables.to_parquet(rows, tables.MEMBERS))
    frame = pd.read_parquet(tmp_path / "members")
    assert sorted(frame["experiment"]) == ["figure-10", "figure-9"]
    assert frame["index"].dtype == "int32"


def test_opening_again_writes_nothing(tmp_path: Path):
    store = open_store(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    open_store(store.root)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("damaged", [False, True])
def test_an_older_releases_columns_are_brought_up_to_date(tmp_path: Path, damaged: bool):
    store, key = open_store(tmp_path), layout.schema(layout.METRICS)
    older = tables.METRICS.remove(5)
    store.put(key, b"PAR1" if damaged else tables.to_parquet([], older))
    open_store(tmp_path)
    assert list(pd.read_parquet(tmp_path / "metrics").columns) == tables.METRICS.names


@pytest.mark.parametrize("location", ["gs://x", "file:///results", ""])
def test_what_is_no_folder_path_is_refused(location: str):
    with pytest.raises(StoreError, match="use --store with a path") as caught:
        open_store(location)
    assert caught.value.where == location


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_is_refused_as_a_store(tmp_path: Path, below: str):
    path = tmp_path / "results.csv"
    path.write_bytes(b"a,b")
    with pytest.raises(StoreError, match=r"results\.csv.*\n  a file is in the way"):
        open_store(path / below)
    assert path.read_bytes() == b"a,b"


def test_a_location_that_leads_nowhere_is_refused(tmp_path: Path):
    (tmp_path / "results").symlink_to(tmp_path / "unmounted")
    with pytest.raises(StoreError, match="results"):
        open_store(tmp_path / "results")


@pytest.mark.parametrize("leased", [False, True])
def test_a_put_whose_rename_fails_leaves_the_old_bytes_and_no_litter(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, leased: bool
):
    lease = store.leases.take(TRIAL) if leased else None
    store.put(SAMPLE, b"old", lease=lease)
    before = files(store)

    def fail(*_: str, **folders: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", fail)
        with pytest.raises(StoreError, match=f"{SAMPLE}: Input/output error") as caught:
            store.put(SAMPLE, b"new", lease=lease)
    assert not isinstance(caught.value, Superseded)
    assert store.get(SAMPLE) == b"old"
    assert files(store) == before
    store.put(SAMPLE, b"new", lease=lease)
    assert store.get(SAMPLE) == b"new"


CRAMPED = """
import resource, sys
from results_schema.errors import StoreError
from results_schema.store import LocalStore
store, key = LocalStore(sys.argv[1]), sys.argv[2]
lease = store.leases.take("item")
store.put(key, b"old", lease=lease)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
for under in (None, lease):
    try:
        store.put(key, bytes(10_000), lease=under)
    except StoreError as error:
        print(type(error).__name__, error.what)
lease.release()
"""


def test_a_file_that_cannot_grow_leaves_the_old_bytes_and_no_litter(store: LocalStore):
    command = [sys.executable, "-c", CRAMPED, str(store.root), SAMPLE]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.stdout == 2 * "StoreError File too large\n", done.stderr
    assert store.get(SAMPLE) == b"old"
    assert files(store) == [SAMPLE]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_told_from_a_bad_one_with_its_cure(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, number: int
):
    def fail(*_: str, **folders: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(StoreFull, match=rf"{os.strerror(number)}\n  free some") as caught:
        store.put(SAMPLE, b"")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize("in_the_way", ["trials", ".staging", "."])
def test_a_file_in_the_way_of_a_folder_is_told(store: LocalStore, in_the_way: str):
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


def test_a_folder_in_the_way_of_a_file_is_told(store: LocalStore):
    (store.root / SAMPLE).mkdir(parents=True)
    for use in (lambda: store.put(SAMPLE, b""), lambda: store.delete(SAMPLE)):
        with pytest.raises(StoreError, match=SAMPLE):
            use()
    assert (store.root / SAMPLE).is_dir()
    assert files(store) == []


def test_a_path_that_is_too_long_is_told(tmp_path: Path):
    store = LocalStore(tmp_path.joinpath(*(21 * [200 * "x"])))
    for use in (
        lambda: store.put(SAMPLE, b""),
        lambda: store.has(SAMPLE),
        lambda: store.delete(SAMPLE),
    ):
        with pytest.raises(StoreError, match=r"File name too long\n  use --store with a shorter"):
            use()


def test_a_folder_that_may_not_be_written_is_told(store: LocalStore):
    store.put(SAMPLE, b"old")
    store.root.chmod(0o500)
    try:
        if os.access(store.root, os.W_OK):
            pytest.skip("permissions do not bind this user")
        with pytest.raises(StoreError, match="you may not write there"):
            store.put(layout.log(TRIAL), b"")
        assert store.get(SAMPLE) == b"old"
    finally:
        store.root.chmod(0o700)


def test_a_store_across_two_file_systems_is_told(tmp_path: Path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    elsewhere = memory / f"nas-sweep-test-{os.getpid()}"
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as across:
        (tmp_path / "file").rename(elsewhere)
    assert "one file system" in str(store_error(across.value, elsewhere))


def test_an_error_comes_whole_out_of_another_process():
    tell, hear = Pipe()
    tell.send(StoreFull("no room", where="results", fix="make some"))
    told = hear.recv()
    assert isinstance(told, StoreFull)
    assert (told.what, told.where, told.fix) == ("no room", "results", "make some")
