"""What every store class must do: a test module gives `store` and derives from `StoreContract`."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from results_schema import layout
from results_schema.errors import MissingKey, StoreError, Superseded
from results_schema.store import Store

TRIAL = "cifar10-w2.5d3-lr0.025-s0-0123456789"
SAMPLE = layout.trial(TRIAL)

names = st.from_regex(layout.NAME, fullmatch=True).filter(lambda name: len(name) < 200)
# One name a level, so that no key is another one's folder.
keys = st.builds("a/{}".format, names) | st.builds("b/{}/{}".format, names, names)
operations = st.lists(st.tuples(keys, st.none() | st.binary(max_size=2000)), max_size=8)

NO_KEYS = [
    "",
    ".",
    "..",
    "../results",
    "trials/../../results",
    "/etc/passwd",
    "trials//x",
    "/",
    ".hidden",
    "trials/.hidden",
    "trials/-x\n",
    "trials/two words",
    "trials/x\n",
    "trials/x\0y",
    "trials/größe",
    "trials\\x",
    "s3://bucket/x",
    "trials/" + 256 * "x",
]


# One store serves all examples, of which each begins and ends with nothing in it.
ONE_STORE = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def assert_it_holds(store: Store, operations: list[tuple[str, bytes | None]]) -> None:
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


class StoreContract:
    # How often writers write, write at once, and come and go: fewer where each takes its time.
    writes, meetings, repeats = 100, 20, 200

    @settings(max_examples=50, suppress_health_check=ONE_STORE)
    @given(operations)
    def test_it_holds_what_was_put_last_and_not_deleted(
        self, store: Store, operations: list[tuple[str, bytes | None]]
    ):
        assert_it_holds(store, operations)

    def test_bytes_come_back_whatever_they_are(self, store: Store):
        for data in (b"", b"\0", b"\r\n", bytes(range(256)) * 10_000):
            store.put(SAMPLE, data)
            assert store.get(SAMPLE) == data

    def test_every_place_of_the_layout_can_be_written(self, store: Store):
        places = [
            layout.schema(layout.METRICS),
            layout.metrics(TRIAL),
            layout.members("figure-9"),
            layout.failure(TRIAL),
            layout.log(TRIAL),
            layout.stop("0123"),
            layout.attempts(TRIAL),
            layout.tensors(TRIAL, 600),
            layout.state(TRIAL, 600),
            layout.figure("figure-9", "html"),
        ]
        for place in places:
            store.put(place, place.encode(), durable=True)
        assert [store.get(place).decode() for place in places] == places

    def test_a_missing_key_is_named(self, store: Store):
        assert not store.has(SAMPLE)
        with pytest.raises(MissingKey, match=f"{SAMPLE}: nothing is stored here"):
            store.get(SAMPLE)

    def test_a_key_below_another_key_is_missing(self, store: Store):
        store.put(SAMPLE, b"row")
        assert not store.has(f"{SAMPLE}/x")
        with pytest.raises(MissingKey):
            store.get(f"{SAMPLE}/x")

    @pytest.mark.parametrize("key", NO_KEYS)
    def test_what_is_no_key_is_refused_by_name(self, store: Store, key: str):
        uses: list[Callable[[str], object]] = [
            lambda key: store.put(key, b""),
            store.get,
            store.has,
            store.delete,
            lambda key: store.list(f"{key}/"),
        ]
        for use in uses:
            with pytest.raises(StoreError, match=r"is no (folder's )?key") as caught:
                use(key)
            assert repr(key)[1:-1] in caught.value.what
            assert caught.value.fix

    @pytest.mark.parametrize("prefix", ["", "trials", "/"])
    def test_only_a_folder_is_listed(self, store: Store, prefix: str):
        with pytest.raises(StoreError, match="no folder's key"):
            store.list(prefix)

    def test_a_list_is_sorted_and_goes_all_the_way_down(self, store: Store):
        inside = [layout.tensors(TRIAL, epoch) for epoch in (9, 60, 600)] + [layout.attempts(TRIAL)]
        for key in [*reversed(inside), SAMPLE]:
            store.put(key, b"")
        assert store.list(layout.checkpoints(TRIAL)) == sorted(inside)
        assert store.list("checkpoints/") == sorted(inside)

    def test_a_list_leaves_out_what_only_begins_alike(self, store: Store):
        for key in ("trials/x", "trials-old/x", "trial/x", "trials.x", "old/trials/x"):
            store.put(key, b"")
        assert store.list("trials/") == ["trials/x"]

    def test_a_list_of_no_folder_is_empty(self, store: Store):
        assert store.list(layout.checkpoints(TRIAL)) == []

    def test_deleting_spares_the_neighbours_and_may_be_repeated(self, store: Store):
        gone, kept = layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)
        store.put(gone, b"")
        store.put(kept, b"kept")
        for _ in range(2):
            store.delete(gone)
            assert not store.has(gone)
            assert store.get(kept) == b"kept"
        store.delete(kept)
        assert store.list(layout.checkpoints(TRIAL)) == []
        store.put(gone, b"again")
        assert store.get(gone) == b"again"

    def test_readers_see_the_old_bytes_or_the_new_ones(self, store: Store):
        store.put(SAMPLE, bytes(100_000))
        done = threading.Event()

        def read() -> set[int]:
            seen = set()
            while not done.is_set():
                data = store.get(SAMPLE)
                assert data == data[:1] * 100_000
                seen.add(data[0])
                assert store.has(SAMPLE)
                assert store.list("trials/") == [SAMPLE]
            return seen

        with ThreadPoolExecutor() as threads:
            readers = [threads.submit(read) for _ in range(3)]
            try:
                for number in range(self.writes):
                    store.put(SAMPLE, bytes([number]) * 100_000)
            finally:
                done.set()
        assert all(len(reader.result()) > 1 for reader in readers)

    def test_of_several_writers_one_has_the_last_word(self, store: Store):
        def write(number: int) -> None:
            for _ in range(self.meetings):
                store.put(SAMPLE, bytes([number]) * 50_000)

        with ThreadPoolExecutor() as threads:
            list(threads.map(write, range(4)))
        assert store.get(SAMPLE) in [bytes([number]) * 50_000 for number in range(4)]

    def test_a_put_does_not_fail_because_its_neighbour_is_deleted(self, store: Store):
        def come_and_go(key: str) -> None:
            for _ in range(self.repeats):
                store.put(key, b"x")
                assert store.get(key) == b"x"
                store.delete(key)

        with ThreadPoolExecutor() as threads:
            list(threads.map(come_and_go, [layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)]))
        assert store.list(layout.checkpoints(TRIAL)) == []

    def test_the_holder_of_a_lease_writes(self, store: Store):
        lease = store.leases.take(TRIAL)
        assert lease is not None
        with lease:
            for number in range(3):
                store.put(SAMPLE, bytes([number]), lease=lease, durable=True)
                assert store.get(SAMPLE) == bytes([number])

    def test_the_holder_of_a_lease_deletes(self, store: Store):
        lease = store.leases.take(TRIAL)
        assert lease is not None
        gone, kept = layout.state(TRIAL, 1), layout.tensors(TRIAL, 1)
        with lease:
            store.delete(gone, lease=lease)
            for key in (gone, kept):
                store.put(key, b"kept")
            for _ in range(2):
                store.delete(gone, lease=lease)
                assert store.list(layout.checkpoints(TRIAL)) == [kept]
            store.put(gone, b"again", lease=lease)
            assert store.get(gone) == b"again"

    @pytest.mark.parametrize("durable", [False, True])
    def test_who_has_lost_the_lease_writes_nothing(self, store: Store, durable: bool):
        old = store.leases.take(TRIAL, "old")
        assert old is not None
        store.put(SAMPLE, b"old", lease=old)
        store.leases.fence(TRIAL, "old")
        new = store.leases.take(TRIAL, "new")
        assert new is not None
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
