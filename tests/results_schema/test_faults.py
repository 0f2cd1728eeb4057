"""What a file system refuses is told with its cure; the old bytes stay, and no litter."""

import errno
import os
import subprocess
import sys
from multiprocessing import Pipe
from pathlib import Path

import pytest

from results_schema import layout
from results_schema.errors import MissingKey, StoreError, StoreFull, Superseded, store_error
from results_schema.store import LocalStore

TRIAL = "cifar10-w2.5d3-lr0.025-s0-0123456789"
SAMPLE = layout.trial(TRIAL)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "results")


def files(store: LocalStore) -> list[str]:
    """Every file below the store's folder, staged and hidden ones too."""
    return sorted(
        path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file()
    )


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
