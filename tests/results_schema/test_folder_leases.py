"""Leases in a folder: one holder at a time, and none that writes after it was replaced."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from clocks import Clock
from contenders import contender, contenders

from results_schema import lease as holder_module
from results_schema import lease as leases_module
from results_schema.errors import StoreError, Superseded
from results_schema.folder import FolderLease, FolderLeases
from results_schema.folder_files import Folder
from results_schema.lease import EXPIRY
from results_schema.store import LocalStore

ITEM = "cifar10-w2.5d3-lr0.025-s0-0123456789"


KEY = "logs/counter"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> LocalStore:
    store = LocalStore(tmp_path)
    store.leases = FolderLeases(tmp_path, clock)
    return store


def take(store: LocalStore, item: str = ITEM, token: str | None = None) -> FolderLease:
    lease = store.leases.take(item, token)
    assert lease is not None
    return lease


def take_elsewhere(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> FolderLease:
    """A lease whose holder runs on another machine, where nobody here can see it."""
    with monkeypatch.context() as patch:
        patch.setattr(holder_module, "_machine", lambda: "another machine")
        return take(store)


def contents(path: Path) -> list[str]:
    return sorted(found.relative_to(path).as_posix() for found in path.rglob("*"))


def test_an_item_is_held_by_one_and_free_again_after_release(store: LocalStore):
    lease = take(store)
    assert store.leases.take(ITEM) is None
    assert LocalStore(store.root).leases.take(ITEM) is None
    assert not store.leases.free(ITEM)
    [holder] = store.leases.holders(ITEM)
    assert store.leases.held() == {ITEM: holder}
    assert (holder.pid, holder.dead, holder.token) == (os.getpid(), False, lease.token)
    lease.release()
    assert store.leases.held() == {}
    assert store.leases.free(ITEM)
    take(store).release()
    assert contents(store.root) == ["leases"]


def test_items_are_held_apart(store: LocalStore):
    take(store, "a")
    take(store, "b")
    assert set(store.leases.held()) == {"a", "b"}


def test_a_lease_is_released_at_the_end_of_its_context_even_after_an_error(store: LocalStore):
    with pytest.raises(ZeroDivisionError), take(store) as lease:
        assert lease.item == ITEM
        raise ZeroDivisionError
    assert contents(store.root) == ["leases"]


def test_of_many_processes_each_item_goes_to_exactly_one(store: LocalStore):
    items = [f"item-{number}" for number in range(200)]
    with contenders(store, 4) as started:
        start = time.time() + 0.1
        for one in started:
            one.tell("race", start, *items)
        taken = [one.hear().split() for one in started]
        assert sorted(item for items_of_one in taken for item in items_of_one) == sorted(items)
        assert not any(holder.dead for holder in store.leases.held().values())


@pytest.mark.parametrize("reaped", [False, True])
def test_a_killed_process_is_replaced_at_once(store: LocalStore, reaped: bool):
    with contender(store) as one:
        assert one.ask("take", ITEM) == "taken"
        assert store.leases.take(ITEM) is None
        one.process.send_signal(signal.SIGKILL)
        if reaped:
            one.process.wait()
        else:  # its remains stay in the process table
            os.waitid(os.P_PID, one.process.pid, os.WEXITED | os.WNOWAIT)
        assert [holder.dead for holder in store.leases.holders(ITEM)] == [True]
        take(store)


def test_a_silent_process_is_replaced_after_expiry_and_may_not_write(
    store: LocalStore, clock: Clock
):
    with contender(store, 0.05) as one:
        assert one.ask("take", ITEM) == "taken"
        assert one.ask("keep") == ITEM
        assert one.ask("put", KEY, "old") == "written"
        one.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert store.leases.take(ITEM) is None
        clock.now += EXPIRY - 1
        assert store.leases.take(ITEM) is None, "it may yet come back"
        clock.now += 1
        new = take(store)
        one.process.send_signal(signal.SIGCONT)
        assert one.ask("put", KEY, "late") == "superseded"
        assert store.get(KEY) == b"old"
        store.put(KEY, b"new", lease=new)
        assert one.ask("leave") == "None"
        assert store.get(KEY) == b"new"
        assert [holder.pid for holder in store.leases.holders(ITEM)] == [os.getpid()]


def test_a_process_that_beats_is_never_replaced(store: LocalStore, clock: Clock):
    with contender(store, 0.05) as one:
        assert one.ask("take", ITEM) == "taken"
        assert one.ask("keep") == ITEM
        for _ in range(5):
            [before] = store.leases.holders(ITEM)
            assert store.leases.take(ITEM) is None
            end = time.monotonic() + 30
            while store.leases.holders(ITEM) == [before] and time.monotonic() < end:
                time.sleep(0.01)
            clock.now += 10 * EXPIRY
        assert one.ask("put", KEY, "mine") == "written"


def test_expiry_counts_from_the_last_beat_that_the_observer_saw(store: LocalStore, clock: Clock):
    lease = take(store)
    for _ in range(4):
        assert store.leases.take(ITEM) is None
        clock.now += EXPIRY - 1
        assert lease.beat()
    assert store.leases.take(ITEM) is None
    clock.now += EXPIRY
    take(store)


def test_who_has_watched_a_silent_holder_frees_its_item_for_who_has_not(
    store: LocalStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    old = take_elsewhere(store, monkeypatch)
    assert not store.leases.free(ITEM)
    clock.now += EXPIRY
    newcomer = LocalStore(store.root)
    assert newcomer.leases.take(ITEM) is None, "it has not watched"
    assert store.leases.free(ITEM)
    assert take(newcomer).folder.exists()
    assert not old.folder.exists()
    assert not store.leases.free(ITEM), "the newcomer's lease has not expired"


def test_fencing_spares_the_successor(store: LocalStore):
    old = take(store, token="old")
    store.leases.fence(ITEM, "old")
    new = take(store, token="new")
    store.leases.fence(ITEM, "old")
    store.leases.fence("never-held", "old")
    old.release()
    assert not old.beat()
    store.put(KEY, b"new", lease=new)
    assert new.beat()
    assert [holder.token for holder in store.leases.holders(ITEM)] == ["new"]


@pytest.mark.parametrize("moment", ["taken over", "being taken over"])
def test_a_holder_replaced_between_staging_and_renaming_writes_nothing(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, moment: str
):
    old = take(store, token="old")
    store.put(KEY, b"before", lease=old)
    write = Folder.write

    def write_late(at: Folder, name: str, data: bytes, *, durable: bool) -> None:
        monkeypatch.setattr(Folder, "write", write)
        write(at, name, data, durable=durable)
        if moment == "taken over":
            store.leases.fence(ITEM, "old")
            take(store, token="new")
        else:  # the successor has emptied the folder, and removes it next
            os.unlink(name, dir_fd=at.handle)

    monkeypatch.setattr(Folder, "write", write_late)
    with pytest.raises(Superseded, match=f"another worker has taken over {ITEM}"):
        store.put(KEY, b"late", lease=old)
    assert store.get(KEY) == b"before"
    assert contents(store.root / "logs") == ["counter"]


def test_fencing_stops_a_holder_that_writes_and_beats_without_pause(store: LocalStore):
    for number in range(50):
        lease = take(store)
        ended: list[str] = []

        def write(lease: FolderLease = lease, ended: list[str] = ended) -> None:
            try:
                while True:
                    store.put(KEY, b"x", lease=lease)
            except Superseded:
                ended.append("writer")

        def beat(lease: FolderLease = lease, ended: list[str] = ended) -> None:
            while lease.beat():
                pass
            ended.append("heart")

        threads = [threading.Thread(target=write), threading.Thread(target=beat)]
        for thread in threads:
            thread.start()
        time.sleep(number / 5000)
        store.leases.fence(ITEM, lease.token)
        assert store.leases.free(ITEM)
        for thread in threads:
            thread.join(60)
        assert sorted(ended) == ["heart", "writer"]
        assert contents(store.root / "leases") == []


def test_no_update_is_lost_among_processes_that_take_over_from_each_other(store: LocalStore):
    rounds, number = 60, 4
    with contenders(store, number, leases_module.BEAT, 0.002) as started:
        for one in started:
            one.tell("count", ITEM, KEY, rounds)
        answers = [one.hear().split() for one in started]
    assert all(answers), "a contender failed"
    assert sum(int(added) for added, _ in answers) == rounds * number
    assert int(store.get(KEY)) == rounds * number
    assert sum(int(lost) for _, lost in answers) > 10, "nobody was superseded: nothing was tested"
    assert not list((store.root / "leases").glob(".new-*"))


def test_an_observer_remembers_the_clock_of_each_item_apart(
    store: LocalStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(holder_module, "_machine", lambda: "another machine")
        elsewhere = FolderLeases(store.root)
        assert elsewhere.take("a")
        assert not store.leases.free("a")
        clock.now += EXPIRY
        assert elsewhere.take("b")
    assert not store.leases.free("b")
    assert store.leases.free("a")


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
