"""What every store and its leases must do: a test module gives `store` and derives a class."""

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from clocks import Clock
from contenders import contenders, count, take_all
from hypothesis import given, settings
from hypothesis import strategies as st

from results_schema import layout
from results_schema import lease as leases_module
from results_schema.errors import CorruptData, MissingKey, StoreError, Superseded
from results_schema.lease import EXPIRY, Lease
from results_schema.store import Store, attach_store

TRIAL = "cifar10-w2.5d3-lr0.025-s0-0123456789"
SAMPLE = layout.trial(TRIAL)
"""A key that is written under leases."""
PLAIN = "members/figure-9.parquet"
"""One that is not."""

names = st.from_regex(layout.NAME, fullmatch=True).filter(lambda name: len(name) < 200)
# One name a level, so that no key is another one's folder.
keys = st.builds("a/{}".format, names) | st.builds("b/{}/{}".format, names, names)
operations = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2000)), max_size=8)

NO_NAMES = ["..", ".", "../trials", "a/b", "/etc", ".new-1", "a\n", "a\0", "größe", 300 * "x"]
NO_NAMES += ["~root", "$HOME", "%2e%2e", "-rf", " ", "\u2025", "\uff0e\uff0e", "con:", "..\\up"]
NO_KEYS = ["", "/", "/etc/passwd", "trials//x", "trials/two words", "trials\\x", "s3://bucket/x"]
NO_KEYS += ["a/../../b", "a/..", "./a/../..", "C:\\Windows\\win.ini", "\\\\host\\share", "~/x"]
NO_KEYS += ["a/.hidden", "a/"]
NO_KEYS += [f"trials/{name}" for name in NO_NAMES if "/" not in name]


def take(store: Store, item: str = TRIAL, token: str | None = None) -> Lease:
    lease = store.leases.take(item, token)
    assert lease is not None
    return lease


def take_elsewhere(store: Store, item: str = TRIAL) -> Lease:
    """A lease whose holder runs on another machine, where nobody here can see it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases_module, "_machine", lambda: "another machine")
        return take(attach_store(store.location), item)


class StoreContract:
    examples = 25

    def test_it_holds_what_was_put_last_and_not_deleted(self, store: Store):
        @settings(max_examples=self.examples, deadline=None)
        @given(operations)
        def holds(operations: list[tuple[str, bytes | None]]) -> None:
            expected: dict[str, bytes] = {}
            for key, data in operations:
                if data is None:
                    store.delete(key)
                    expected.pop(key, None)
                else:
                    store.put(key, data)
                    expected[key] = data
            assert store.list("a/") + store.list("b/") == sorted(expected)
            assert {key: store.get(key) for key in expected} == expected
            assert all(store.has(key) == (key in expected) for key, _ in operations)
            for key in expected:
                store.delete(key)
            assert store.list("a/") == store.list("b/") == []

        holds()

    @pytest.mark.parametrize("key", [SAMPLE, PLAIN, layout.state(TRIAL, 600), layout.stop("0123")])
    def test_bytes_come_back_whatever_they_are(self, store: Store, key: str):
        for data in (b"", b"\0", b"\r\n", bytes(range(256)) * 10_000):
            store.put(key, data, durable=True)
            assert store.get(key) == data

    @pytest.mark.parametrize("key", [SAMPLE, PLAIN])
    def test_size_version_and_age_are_known_unread(self, store: Store, key: str):
        assert (store.stat(key), store.has(key)) == (None, False)
        store.put(key, b"12345")
        before = store.stat(key)
        store.put(key, b"123456")
        after = store.stat(key)
        assert before is not None
        assert after is not None
        assert (before.size, after.size) == (5, 6)
        assert before.version != after.version
        assert 0 <= after.age < 600
        [(found, again)] = store.stats(key.rpartition("/")[0] + "/").items()
        assert (found, again.size, again.version) == (key, after.size, after.version)
        assert store.get(key, most=6) == b"123456"
        with pytest.raises(CorruptData, match="6 bytes, not 5"):
            store.get(key, most=5)

    def test_a_missing_key_is_named_and_so_is_one_below_another(self, store: Store):
        for missing in (SAMPLE, f"{SAMPLE}/x"):
            with pytest.raises(MissingKey, match=f"{missing}: nothing is stored here"):
                store.get(missing)
            store.put(SAMPLE, b"row")
        assert not store.has(f"{SAMPLE}/x")

    def test_what_is_no_key_is_refused_by_name(self, store: Store):
        uses = (store.get, store.has, store.stat, store.delete, store.locate)
        for key in NO_KEYS:
            for use in (*uses, lambda key: store.put(key, b""), lambda key: store.list(f"{key}/")):
                with pytest.raises(StoreError, match=r"is no (folder's )?key") as caught:
                    use(key)
                assert repr(key)[1:-1] in caught.value.what
                assert caught.value.fix
        for prefix in ("", "trials", "/"):
            for use in (store.list, store.stats):
                with pytest.raises(StoreError, match="no folder's key"):
                    use(prefix)

    def test_a_list_is_sorted_goes_all_the_way_down_and_no_further(self, store: Store):
        assert store.list(layout.checkpoints(TRIAL)) == []
        inside = [layout.tensors(TRIAL, epoch) for epoch in (9, 60, 600)] + [layout.attempts(TRIAL)]
        others = [SAMPLE, "trials-old/x", "trial/x", "trials.x", "old/trials/x"]
        for key in [*reversed(inside), *others]:
            store.put(key, b"")
        assert store.list(layout.checkpoints(TRIAL)) == sorted(inside)
        assert store.list("checkpoints/") == list(store.stats("checkpoints/")) == sorted(inside)
        assert store.list("trials/") == [SAMPLE]

    def test_several_keys_come_in_order_without_those_that_are_missing(self, store: Store):
        keys = [layout.metrics(f"trial-{number}") for number in range(5)]
        for number, key in enumerate(keys[:4]):
            store.put(key, b"%d" % number)
        store.put(PLAIN, b"x")
        store.delete(keys[3])
        asked = [*reversed(keys), PLAIN, "members/y.parquet"]
        assert list(store.several(asked)) == [
            *((keys[number], b"%d" % number) for number in (2, 1, 0)),
            (PLAIN, b"x"),
        ]
        assert list(store.several([SAMPLE])) == []

    def test_deleting_spares_the_neighbours_and_may_be_repeated(self, store: Store):
        gone, kept = layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)
        lease = take(store)
        for under in (None, lease):
            store.delete(gone, lease=under)
            for key in (gone, kept):
                store.put(key, b"kept", lease=under, durable=True)
            for _ in range(2):
                store.delete(gone, lease=under)
                assert not store.has(gone)
                assert store.get(kept) == b"kept"
            store.delete(kept, lease=under)
            assert store.list(layout.checkpoints(TRIAL)) == []
            store.put(gone, b"again", lease=under)
            assert store.get(gone) == b"again"

    @pytest.mark.parametrize("durable", [False, True])
    def test_who_has_lost_the_lease_writes_nothing(self, store: Store, durable: bool):
        old = take(store, token="old")
        store.put(SAMPLE, b"old", lease=old)
        store.leases.fence(TRIAL, "old")
        new = take(store, token="new")
        for key in (SAMPLE, layout.state(TRIAL, 7)):
            with pytest.raises(Superseded, match=TRIAL):
                store.put(key, b"late", lease=old, durable=durable)
            with pytest.raises(Superseded, match=TRIAL):
                store.delete(key, lease=old)
        assert store.get(SAMPLE) == b"old"
        assert store.list(layout.checkpoints(TRIAL)) == []
        old.release()
        store.put(SAMPLE, b"new", lease=new)
        assert store.get(SAMPLE) == b"new"
        store.delete(SAMPLE, lease=new)
        assert not store.has(SAMPLE)

    def test_a_lease_of_another_kind_of_store_is_a_mistake(self, store: Store):
        class Other(Lease):
            def _renew(self, text: bytes) -> bool:
                return True

            def _give_back(self) -> None: ...

        other = Other(TRIAL, leases_module.Holder.here("token"))
        with pytest.raises(TypeError, match=TRIAL):
            store.put(SAMPLE, b"", lease=other)
        with pytest.raises(TypeError, match=TRIAL):
            store.delete(SAMPLE, lease=other)

    # Leases. The store's own observe by a clock that stands still.

    def test_an_item_is_held_by_one_and_free_again_after_release(self, store: Store):
        lease = take(store, token="mine")
        assert store.leases.take(TRIAL) is None
        assert attach_store(store.location).leases.take(TRIAL) is None
        assert not store.leases.free(TRIAL)
        take(store, "other")
        [holder] = store.leases.holders(TRIAL)
        assert store.leases.held().keys() == {TRIAL, "other"}
        assert store.leases.held()[TRIAL] == holder
        assert (holder.pid, holder.dead, holder.token) == (os.getpid(), False, "mine")
        assert lease.token == "mine"
        age = store.leases.age(TRIAL, holder)
        assert age is not None
        assert 0 <= age < 600
        lease.release()
        assert store.leases.held().keys() == {"other"}
        assert store.leases.age(TRIAL, holder) is None
        assert store.leases.holders(TRIAL) == []
        with pytest.raises(ZeroDivisionError), take(store) as again:
            assert again.item == TRIAL
            raise ZeroDivisionError
        assert store.leases.free(TRIAL)

    def test_fencing_spares_the_successor(self, store: Store):
        old = take(store, token="old")
        assert store.leases.fence(TRIAL, "old")
        assert not old.beat()
        new = take(store, token="new")
        assert not store.leases.fence(TRIAL, "old")
        assert not store.leases.fence("never-held", "old")
        old.release()
        assert new.beat()
        store.put(SAMPLE, b"new", lease=new)
        assert [holder.token for holder in store.leases.holders(TRIAL)] == ["new"]
        for token in ("", ".", "..", "../other", "a/b"):
            with pytest.raises(StoreError, match="names no lease"):
                store.leases.fence(TRIAL, token)
        assert new.beat()

    def test_expiry_counts_from_the_last_beat_that_the_observer_saw(
        self, store: Store, clock: Clock
    ):
        old = take_elsewhere(store)
        for _ in range(3):
            assert not store.leases.free(TRIAL)
            clock.now += EXPIRY - 1
            assert old.beat()
        assert store.leases.take(TRIAL) is None
        clock.now += EXPIRY
        newcomer = attach_store(store.location)
        assert newcomer.leases.take(TRIAL) is None, "it has not watched"
        assert store.leases.free(TRIAL)
        assert f"sent no heartbeat for {EXPIRY:.0f} s" in store.leases.ended[TRIAL]
        take(newcomer)
        assert not store.leases.free(TRIAL), "the newcomer's lease has not expired"
        with pytest.raises(Superseded, match=TRIAL):
            store.put(SAMPLE, b"late", lease=old)

    def test_an_observer_remembers_the_clock_of_each_item_apart(self, store: Store, clock: Clock):
        take_elsewhere(store, "a")
        assert not store.leases.free("a")
        clock.now += EXPIRY
        take_elsewhere(store, "b")
        assert not store.leases.free("b")
        lease = take(store, "a")
        assert "sent no heartbeat" in lease.predecessor
        assert store.leases.ended == {}

    def test_a_dead_process_is_replaced_at_once(self, store: Store, clock: Clock):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: 2**22 + 1)
            take(attach_store(store.location))
        [holder] = store.leases.holders(TRIAL)
        assert holder.dead
        assert take(store).predecessor == f"process {2**22 + 1} on {holder.host} has ended"

    @pytest.mark.parametrize("text", [b"", b"{}", b'{"token": "../../metrics"}'])
    def test_a_holder_that_cannot_be_read_has_until_expiry(
        self, store: Store, clock: Clock, text: bytes
    ):
        store.put(SAMPLE, b"row")
        lease = take(store)
        self.spoil(store, lease, text)
        assert store.leases.take(TRIAL) is None
        [holder] = store.leases.holders(TRIAL)
        assert (holder.host, holder.pid, holder.dead) == ("unknown", 0, False)
        clock.now += EXPIRY
        assert "an unknown process" in take(store).predecessor
        assert not lease.beat()
        assert store.get(SAMPLE) == b"row"

    def spoil(self, store: Store, lease: Lease, text: bytes) -> None:
        """Puts a text in the place of a lease's heartbeat."""
        raise NotImplementedError

    def test_what_is_no_name_is_refused(self, store: Store):
        leases = store.leases
        for name in ("", *NO_NAMES):
            for use in (
                leases.take,
                leases.free,
                leases.holders,
                lambda name: leases.fence(name, "x"),
            ):
                with pytest.raises(StoreError, match="is no item") as caught:
                    use(name)
                assert repr(name) in caught.value.what
        for token in NO_NAMES:
            with pytest.raises(StoreError, match="can't name a lease"):
                leases.take(TRIAL, token)
        assert leases.held() == {}


class ConcurrencyContract:
    """What holds among threads and processes."""

    # How often writers come and go, and how many items are raced for.
    repeats, items, fences = 50, 60, 10
    contenders, rounds, expiry = 3, 8, 0.002

    def test_readers_see_the_whole_bytes_of_one_of_several_writers(self, store: Store):
        store.put(SAMPLE, bytes(100_000))
        done = threading.Event()

        def read() -> None:
            seen = set[bytes]()
            while len(seen) < 4:
                data = store.get(SAMPLE)
                assert data == data[:1] * 100_000
                seen.add(data[:1])
                assert store.has(SAMPLE)
                assert store.list("trials/") == [SAMPLE]

        def write(first: int) -> None:
            for number in itertools.count(first, 2):
                if done.is_set():
                    return
                store.put(SAMPLE, bytes([number % 256]) * 100_000)

        with ThreadPoolExecutor() as threads:
            running = [threads.submit(write, first) for first in range(2)]
            try:
                for reader in [threads.submit(read) for _ in range(2)]:
                    reader.result()
            finally:
                done.set()
        assert [one.result() for one in running] == [None, None]

    def test_a_put_does_not_fail_because_its_neighbour_is_deleted(self, store: Store):
        def come_and_go(key: str) -> None:
            for _ in range(self.repeats):
                store.put(key, b"x")
                assert store.get(key) == b"x"
                store.delete(key)

        with ThreadPoolExecutor() as threads:
            list(threads.map(come_and_go, [layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)]))
        assert store.list(layout.checkpoints(TRIAL)) == []

    def test_fencing_stops_a_holder_that_writes_and_beats_without_pause(self, store: Store):
        for number in range(self.fences):
            lease = take(store)

            def write(lease: Lease = lease) -> None:
                with pytest.raises(Superseded):
                    while True:
                        store.put(SAMPLE, b"x", lease=lease)

            def beat(lease: Lease = lease) -> None:
                while lease.beat():
                    pass

            with ThreadPoolExecutor() as threads:
                ended = [threads.submit(write), threads.submit(beat)]
                time.sleep(number / 1000)
                store.leases.fence(TRIAL, lease.token)
                assert store.leases.free(TRIAL)
            assert [one.result() for one in ended] == [None, None]
            assert store.leases.held() == {}

    def test_of_several_processes_each_item_goes_to_exactly_one(self, store: Store):
        items = [f"item-{number}" for number in range(self.items)]
        with contenders(store, self.contenders, take_all, items) as taken:
            assert sorted(itertools.chain(*taken)) == sorted(items)
            assert not any(holder.dead for holder in store.leases.held().values())

    def test_no_update_is_lost_among_processes_that_take_over_from_each_other(self, store: Store):
        job = (count, self.expiry, TRIAL, SAMPLE, self.rounds)
        with contenders(store, self.contenders, *job) as added:
            assert added == [self.rounds] * self.contenders
        assert int(store.get(SAMPLE)) == self.rounds * self.contenders
