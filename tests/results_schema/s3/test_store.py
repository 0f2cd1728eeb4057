"""The store in a bucket, over HTTP: the contract, and what only a bucket can suffer."""

import pandas as pd
import pytest
from hypothesis import given, settings
from s3_server import SECRET, reached_at

from results_schema import layout, tables
from results_schema.errors import CorruptData, MissingKey, StoreError, Superseded
from results_schema.s3.leases import block_name
from results_schema.s3.store import BLOCKS, S3Store
from results_schema.store import Store, attach_store, existing_store, find_store, open_store
from tests.results_schema.store_contract import (
    ONE_STORE,
    SAMPLE,
    TRIAL,
    StoreContract,
    assert_it_holds,
    operations,
)

ROW = f"{BLOCKS}{SAMPLE}/"


class TestS3Store(StoreContract):
    writes, meetings, repeats = 30, 6, 5

    @settings(max_examples=8, suppress_health_check=ONE_STORE, deadline=None)
    @given(operations)
    def test_it_holds_what_was_put_last_and_not_deleted(
        self, store: Store, operations: list[tuple[str, bytes | None]]
    ):
        assert_it_holds(store, operations)

    def test_a_folder_is_no_key(self, store: Store):
        store.put(SAMPLE, b"row")
        assert not store.has("trials")
        with pytest.raises(MissingKey):
            store.get("trials")


def objects(store: S3Store) -> list[str]:
    return [entry.name for entry in store.bucket.list("")]


def test_no_object_is_written_twice_and_two_are_left(store: S3Store):
    for number in range(5):
        store.put(SAMPLE, b"%d" % number)
    assert objects(store) == [block_name(ROW, 4), block_name(ROW, 5)]
    assert not store.bucket.create(block_name(ROW, 5), b"another")
    assert store.get(SAMPLE) == b"4"


def test_deleting_frees_the_bytes_and_keeps_the_number(store: S3Store):
    store.put(SAMPLE, b"old")
    store.delete(SAMPLE)
    assert objects(store) == [block_name(ROW, 2)]
    assert (store.has(SAMPLE), store.stat(SAMPLE), store.list("trials/")) == (False, None, [])
    store.put(SAMPLE, b"new")
    assert objects(store) == [block_name(ROW, 2), block_name(ROW, 3)]


def test_a_put_that_was_under_way_at_the_takeover_is_refused(store: S3Store):
    old = store.leases.take(TRIAL, "old")
    assert old
    store.put(SAMPLE, b"old", lease=old)
    check = old.check

    def freeze_behind_the_look() -> None:
        check()
        old.check = check
        store.leases.fence(TRIAL, "old")
        new = store.leases.take(TRIAL, "new")
        assert new
        store.put(SAMPLE, b"new", lease=new)

    old.check = freeze_behind_the_look
    with pytest.raises(Superseded, match=TRIAL):
        store.put(SAMPLE, b"late", lease=old)
    assert store.get(SAMPLE) == b"new"


def test_a_delete_that_was_under_way_at_the_takeover_is_refused(store: S3Store):
    old = store.leases.take(TRIAL, "old")
    assert old
    store.put(SAMPLE, b"old", lease=old)
    store.leases.fence(TRIAL, "old")
    new = store.leases.take(TRIAL, "new")
    assert new
    store.put(SAMPLE, b"new", lease=new)
    with pytest.raises(Superseded, match=TRIAL):
        store.delete(SAMPLE, lease=old)
    assert store.get(SAMPLE) == b"new"


def test_a_holder_whose_number_an_orphan_took_writes_the_next(store: S3Store):
    lease = store.leases.take(TRIAL)
    assert lease
    store.put(SAMPLE, b"one", lease=lease)
    S3Store(store.bucket).put(SAMPLE, b"late")  # which this lease does not know of
    store.put(SAMPLE, b"two", lease=lease)
    assert store.get(SAMPLE) == b"two"


def test_a_block_that_vanishes_under_its_reader_is_looked_up_again(store: S3Store):
    store.put(SAMPLE, b"one")
    block = store._newest(SAMPLE)
    for data in (b"two", b"three", b"four"):
        store.put(SAMPLE, data)
    assert store._read(SAMPLE, block) == b"four"
    store.delete(SAMPLE)
    with pytest.raises(MissingKey):
        store._read(SAMPLE, block)


def test_more_bytes_than_there_may_be_are_not_read(store: S3Store):
    for key in (SAMPLE, "members/x.parquet"):
        store.put(key, b"12345")
        assert store.get(key, most=5) == b"12345"
        with pytest.raises(CorruptData, match="5 bytes, not 4"):
            store.get(key, most=4)


def test_several_keys_come_in_order_without_those_that_are_missing(store: S3Store):
    keys = [layout.metrics(f"trial-{number}") for number in range(30)]
    for number, key in enumerate(keys[:20]):
        store.put(key, b"%d" % number)
    store.put("members/x.parquet", b"x")
    store.delete(keys[3])
    asked = [*reversed(keys), "members/x.parquet", "members/y.parquet"]
    found = dict(store.several(asked))
    expected = [key for key in asked if key in keys[:20] and key != keys[3]]
    assert list(found) == [*expected, "members/x.parquet"]
    assert found[keys[7]] == b"7"
    assert dict(store.several([SAMPLE])) == {}


def test_size_mark_and_age_are_told_unread(store: S3Store):
    for key in (SAMPLE, "members/x.parquet"):
        store.put(key, b"12345")
        before = store.stat(key)
        store.put(key, b"123456")
        after = store.stat(key)
        assert before and after
        assert (before.size, after.size) == (5, 6)
        assert before.version != after.version
        assert 0 <= after.age < 60
        [(found, again)] = store.stats(key.rpartition("/")[0] + "/").items()
        assert (found, again.size, again.version) == (key, after.size, after.version)


def test_other_programs_see_the_last_tables_of_ended_trials_alone(url: str):
    store = open_store(url)
    assert isinstance(store, S3Store)
    for trial in ("ended", "live"):
        lease = store.leases.take(trial)
        assert lease
        for epoch in (1, 2, 3):
            rows = [_metrics(trial, number) for number in range(1, epoch + 1)]
            data = tables.to_parquet(rows, tables.METRICS)
            final = trial == "ended" and epoch == 3
            store.put(layout.metrics(trial), data, lease=lease, final=final)
    place = f"{url.removeprefix('s3://')}/metrics"
    frame = pd.read_parquet(place, filesystem=_filesystem())
    assert list(zip(frame["trial_id"], frame["epoch"], strict=True)) == [
        ("ended", 1), ("ended", 2), ("ended", 3)
    ]  # fmt: skip
    store.delete(layout.metrics("ended"))
    assert len(pd.read_parquet(place, filesystem=_filesystem())) == 0


def test_a_store_is_there_once_it_was_opened_for_writing(url: str):
    assert find_store(url) is None
    with pytest.raises(StoreError, match="there is no store here"):
        existing_store(url)
    assert objects(S3Store.at(url)) == [], "looking wrote something"
    open_store(url)
    before = objects(S3Store.at(url))
    open_store(url)
    assert objects(S3Store.at(url)) == before
    assert existing_store(url).location == url


def test_another_stores_objects_are_none_of_ours(url: str, store: S3Store):
    other = S3Store.at(f"{url}-old")
    other.put(SAMPLE, b"theirs")
    assert other.leases.take(TRIAL)
    assert store.list("trials/") == []
    assert store.leases.held() == {}
    assert S3Store.at(url.removesuffix("/some/results")).list("trials/") == []


def test_a_bucket_that_is_not_there_is_named(server: str):
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        open_store("s3://nowhere-at-all/results")
    assert "s3://nowhere-at-all" in caught.value.where
    assert "make the bucket" in caught.value.fix


def test_a_server_that_is_not_there_is_told_without_credentials():
    with reached_at("http://127.0.0.1:9"):
        store = attach_store("s3://bucket/results").hasty
        with pytest.raises(StoreError, match=r"Could not connect") as caught:
            store.has(SAMPLE)
    assert SECRET not in str(caught.value)


def test_a_machine_without_credentials_is_told_where_to_put_them(
    url: str, monkeypatch: pytest.MonkeyPatch, tmp_path
):
    monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # which remembers them
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(variable)
    for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    with pytest.raises(StoreError, match="no credentials") as caught:
        attach_store(url).has(SAMPLE)
    assert "AWS_ACCESS_KEY_ID" in caught.value.fix


def _metrics(trial: str, epoch: int) -> dict[str, object]:
    filler = {"double": 0.5, "int64": 1, "int32": 1, "string": "x"}
    now = pd.Timestamp.now("UTC").to_pydatetime()
    row = {f.name: filler.get(str(f.type), now) for f in tables.METRICS}
    return row | {"trial_id": trial, "epoch": epoch}


def _filesystem() -> object:
    import os

    from pyarrow.fs import S3FileSystem

    scheme, _, rest = os.environ["AWS_ENDPOINT_URL_S3"].partition("://")
    return S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=SECRET,
        scheme=scheme,
        endpoint_override=rest,
    )
