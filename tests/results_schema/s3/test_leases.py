"""Leases in a bucket among real processes: one holder at a time, and none that writes late."""

import os
import signal
import time

import pytest
from clocks import Clock
from contenders import contender, contenders

from results_schema import lease as holder_module
from results_schema import lease as leases_module
from results_schema.errors import StoreError, Superseded
from results_schema.lease import EXPIRY
from results_schema.s3.bucket import Bucket
from results_schema.s3.leases import BucketLease, BucketLeases
from results_schema.s3.store import S3Store

ITEM = "cifar10-w2.5d3-lr0.025-s0-0123456789"
KEY = "logs/counter"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(store: S3Store, clock: Clock) -> S3Store:
    store.leases = BucketLeases(store.bucket, clock)
    return store


def take(store: S3Store, item: str = ITEM, token: str | None = None) -> BucketLease:
    lease = store.leases.take(item, token)
    assert lease is not None
    return lease


def names(store: S3Store) -> list[str]:
    return [entry.name for entry in store.bucket.list("leases/")]


def test_an_item_is_held_by_one_and_free_again_after_release(store: S3Store):
    lease = take(store, token="mine")
    assert store.leases.take(ITEM) is None
    assert S3Store.at(store.location).leases.take(ITEM) is None
    [holder] = store.leases.holders(ITEM)
    assert store.leases.held() == {ITEM: holder}
    assert (holder.pid, holder.dead, holder.token) == (os.getpid(), False, "mine")
    assert 0 <= (store.leases.age(ITEM, holder) or 0.0) < 60
    lease.release()
    assert store.leases.held() == {}
    take(store).release()
    assert len(names(store)) == 1, "the last number alone stays"


def test_fencing_spares_the_successor(store: S3Store):
    old = take(store, token="old")
    store.leases.fence(ITEM, "old")
    assert not old.beat()
    new = take(store, token="new")
    store.leases.fence(ITEM, "old")
    old.release()
    assert new.beat()
    assert [holder.token for holder in store.leases.holders(ITEM)] == ["new"]
    for token in ("", "..", "a/b"):
        with pytest.raises(StoreError, match="names no lease"):
            store.leases.fence(ITEM, token)


def test_a_taker_who_comes_late_with_an_old_number_gets_nothing(store: S3Store):
    take(store, token="one").release()
    listed = list(store.bucket.list(f"leases/{ITEM}/"))
    take(store, token="two").release()
    take(store, token="three")

    class Late(Bucket):
        def list(self, start: str, **how):
            yield from listed if listed else super().list(start, **how)
            listed.clear()

    late = BucketLeases(Late(store.location))
    assert late._place(ITEM, holder_module.Holder.here("late")) is None
    assert [holder.token for holder in store.leases.holders(ITEM)] == ["three"]


def test_expiry_counts_from_the_last_beat_that_the_observer_saw(
    store: S3Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(holder_module, "_machine", lambda: "another machine")
        old = take(store)
    for _ in range(3):
        assert not store.leases.free(ITEM)
        clock.now += EXPIRY - 1
        assert old.beat()
    assert not store.leases.free(ITEM)
    clock.now += EXPIRY
    newcomer = S3Store.at(store.location)
    assert newcomer.leases.take(ITEM) is None, "it has not watched"
    assert store.leases.free(ITEM)
    take(newcomer)
    with pytest.raises(Superseded, match=ITEM):
        store.put(KEY, b"late", lease=old)


def test_of_several_processes_each_item_goes_to_exactly_one(store: S3Store):
    items = [f"item-{number}" for number in range(12)]
    with contenders(store, 2) as started:
        start = time.time() + 0.1
        for one in started:
            one.tell("race", start, *items)
        taken = [one.hear().split() for one in started]
        assert sorted(item for items_of_one in taken for item in items_of_one) == sorted(items)


def test_a_frozen_process_is_replaced_and_may_not_write(store: S3Store, clock: Clock):
    with contender(store, 0.2) as one:
        assert one.ask("take", ITEM) == "taken"
        assert one.ask("keep") == ITEM
        assert one.ask("put", KEY, "old") == "written"
        one.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, one.process.pid, os.WSTOPPED | os.WNOWAIT)
        assert store.leases.take(ITEM) is None
        clock.now += EXPIRY
        new = take(store)
        one.process.send_signal(signal.SIGCONT)
        assert one.ask("put", KEY, "late") == "superseded"
        assert store.get(KEY) == b"old"
        store.put(KEY, b"new", lease=new)
        assert one.ask("leave") == "None"
        assert store.get(KEY) == b"new"
        one.process.kill()
        one.process.wait()


def test_a_killed_process_is_replaced_at_once(store: S3Store):
    with contender(store) as one:
        assert one.ask("take", ITEM) == "taken"
        assert store.leases.take(ITEM) is None
        one.process.kill()
        one.process.wait()
        take(store)


def test_no_update_is_lost_among_processes_that_take_over_from_each_other(store: S3Store):
    rounds, number = 5, 2
    with contenders(store, number, leases_module.BEAT, 0.02) as started:
        for one in started:
            one.tell("count", ITEM, KEY, rounds)
        answers = [one.hear().split() for one in started]
    assert all(answers), "a contender failed"
    assert sum(int(added) for added, _ in answers) == rounds * number
    assert int(store.get(KEY)) == rounds * number
