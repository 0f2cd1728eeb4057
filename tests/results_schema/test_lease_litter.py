"""Leases beside what crashes, other programs and wrong names leave in their folder."""

from pathlib import Path

import pytest
from clocks import Clock

from results_schema import lease as holder_module
from results_schema.errors import StoreError
from results_schema.folder import FolderLease, FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import LocalStore

ITEM = "cifar10-w2.5d3-lr0.025-s0-0123456789"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> LocalStore:
    store = LocalStore(tmp_path)
    store.leases = FolderLeases(tmp_path / "leases", clock)
    return store


def take(store: LocalStore, item: str = ITEM, token: str | None = None) -> FolderLease:
    lease = store.leases.take(item, token)
    assert lease is not None
    return lease


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_what_is_left_of_an_emptied_lease_is_taken(store: LocalStore):
    (store.root / "leases" / ITEM).mkdir(parents=True)
    assert store.leases.held() == {}
    take(store)


def test_what_a_crashed_taker_prepared_is_no_lease(store: LocalStore):
    (store.root / "leases/.new-0123/token").mkdir(parents=True)
    assert store.leases.held() == {}
    take(store)
    assert set(store.leases.held()) == {ITEM}


@pytest.mark.parametrize("in_lease", [".DS_Store", "stray/", "token/stray", "token/folder/stray"])
def test_what_others_leave_in_a_lease_goes_when_it_expires(
    store: LocalStore, clock: Clock, in_lease: str
):
    path = store.root / "leases" / ITEM / in_lease
    path.parent.mkdir(parents=True)
    if in_lease.endswith("/"):
        path.mkdir()
    else:
        path.write_bytes(b"")
    assert store.leases.take(ITEM) is None
    clock.now += EXPIRY
    take(store)


def test_a_stray_file_beside_a_silent_holder_does_not_keep_it_alive(
    store: LocalStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(holder_module, "_machine", lambda: "another machine")
        old = take(store)
    for name in (".DS_Store", "Thumbs.db"):
        (old.folder.parent / name).write_bytes(b"")
    while not store.leases.free(ITEM):
        assert clock.now < 3 * EXPIRY, "each of the three is watched in its turn"
        clock.now += EXPIRY
    take(store)


@pytest.mark.parametrize("heartbeat", [None, b"", b"{}", b'{"token": "../../metrics"}'])
def test_a_holder_that_cannot_be_read_has_until_expiry(
    store: LocalStore, clock: Clock, heartbeat: bytes | None
):
    store.put("metrics/x.parquet", b"row")
    lease = take(store)
    (lease.folder / "heartbeat").unlink()
    if heartbeat is not None:
        (lease.folder / "heartbeat").write_bytes(heartbeat)
    assert store.leases.take(ITEM) is None
    clock.now += EXPIRY
    take(store)
    assert not lease.folder.exists()
    assert store.get("metrics/x.parquet") == b"row"


def test_a_file_in_the_place_of_a_lease_is_told(store: LocalStore):
    path = store.root / "leases" / ITEM
    path.parent.mkdir()
    path.write_bytes(b"mine")
    assert store.leases.held() == {}
    with pytest.raises(StoreError, match=rf"{ITEM}: Not a directory\n  a file is in the way"):
        store.leases.take(ITEM)
    assert path.read_bytes() == b"mine"
    assert contents(path.parent) == [ITEM]


def test_a_file_in_the_place_of_all_leases_is_told(store: LocalStore):
    (store.root / "leases").write_bytes(b"mine")
    assert store.leases.held() == {}
    with pytest.raises(StoreError, match="a file is in the way"):
        store.leases.take(ITEM)


NO_NAMES = ["..", ".", "../trials", "a/b", "/etc", ".new-1", "a\n", "a\0", "größe", 300 * "x"]


@pytest.mark.parametrize("name", ["", *NO_NAMES])
def test_an_item_that_is_no_name_is_refused(store: LocalStore, name: str):
    for use in (
        store.leases.take,
        store.leases.free,
        store.leases.holders,
        lambda name: store.leases.fence(name, "token"),
    ):
        with pytest.raises(StoreError, match="is no item") as caught:
            use(name)
        assert repr(name) in caught.value.what
    assert contents(store.root) == []


@pytest.mark.parametrize("token", NO_NAMES)
def test_a_token_that_is_no_name_is_refused(store: LocalStore, token: str):
    with pytest.raises(StoreError, match="can't name a lease"):
        store.leases.take(ITEM, token)
    assert contents(store.root) == []


@pytest.mark.parametrize("token", ["", ".", "..", "../other", "a/b"])
def test_fencing_stays_within_the_item(store: LocalStore, token: str):
    take(store, token="mine")
    take(store, "other")
    with pytest.raises(StoreError, match="names no lease"):
        store.leases.fence(ITEM, token)
    assert set(store.leases.held()) == {ITEM, "other"}
