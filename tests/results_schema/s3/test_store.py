"""The store in a bucket, without a network: the contract, and what only a bucket can suffer."""

import pytest
from botocore.exceptions import ClientError

from results_schema import lease as leases_module
from results_schema.errors import MissingKey, StoreError, StoreFull, Superseded
from results_schema.lease import Lease
from results_schema.s3.bucket import Bucket, parse_url
from results_schema.s3.leases import BucketLease, BucketLeases, block_name
from results_schema.s3.store import BLOCKS, S3Store
from results_schema.store import Store, attach_store, existing_store, find_store, open_store
from tests.results_schema.store_contract import PLAIN, SAMPLE, TRIAL, StoreContract, take

ROW = f"{BLOCKS}{SAMPLE}/"


class TestS3Store(StoreContract):
    examples = 4

    def spoil(self, store: Store, lease: Lease, text: bytes) -> None:
        assert isinstance(store, S3Store)
        [block] = [entry.name for entry in store.bucket.list("leases/")]
        store.bucket.put(f"{block}.beat", text)


def objects(store: S3Store, start: str = "") -> list[str]:
    return [entry.name for entry in store.bucket.list(start)]


def test_no_object_is_written_twice_and_two_are_left(store: S3Store):
    for number in range(5):
        store.put(SAMPLE, b"%d" % number)
    assert objects(store) == [block_name(ROW, 4), block_name(ROW, 5)]
    assert not store.bucket.create(block_name(ROW, 5), b"another")
    assert store.get(SAMPLE) == b"4"
    assert store.locate(SAMPLE) == f"{store.location}/{ROW}"
    assert store.locate(PLAIN) == f"{store.location}/{PLAIN}"


def test_deleting_frees_the_bytes_and_keeps_the_number(store: S3Store):
    store.put(SAMPLE, b"old")
    store.delete(SAMPLE)
    assert objects(store) == [block_name(ROW, 2)]
    assert (store.has(SAMPLE), store.stat(SAMPLE), store.list("trials/")) == (False, None, [])
    store.put(SAMPLE, b"new", final=True)
    assert objects(store) == [block_name(ROW, 2), block_name(ROW, 3), SAMPLE]
    store.delete(SAMPLE)
    assert objects(store) == [block_name(ROW, 4)]
    assert not store.has("trials")


def test_a_put_that_was_under_way_at_the_takeover_is_refused(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
):
    old = take(store, token="old")
    assert isinstance(old, BucketLease)
    store.put(SAMPLE, b"old", lease=old)
    check = old.check

    def freeze_behind_the_look() -> None:
        check()
        monkeypatch.undo()
        store.leases.fence(TRIAL, "old")
        store.put(SAMPLE, b"new", lease=take(store, token="new"))

    monkeypatch.setattr(old, "check", freeze_behind_the_look)
    with pytest.raises(Superseded, match=TRIAL):
        store.put(SAMPLE, b"late", lease=old)
    assert store.get(SAMPLE) == b"new"


def test_a_holder_whose_number_an_orphan_took_writes_the_next(store: S3Store):
    lease = take(store)
    store.put(SAMPLE, b"one", lease=lease)
    store.put(SAMPLE, b"late")  # which this lease does not know of
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
    take(other)
    assert store.list("trials/") == []
    assert store.leases.held() == {}
    assert S3Store.at(url.removesuffix("/some/results")).list("trials/") == []


def test_of_a_lease_the_last_number_alone_stays(store: S3Store):
    for _ in range(2):
        lease = take(store)
        assert lease.beat()
        lease.release()
    assert objects(store, "leases/") == [f"leases/{TRIAL}/0000000004"]


def test_a_taker_who_comes_late_with_an_old_number_gets_nothing(store: S3Store):
    take(store, token="one").release()
    listed = list(store.bucket.list(f"leases/{TRIAL}/"))
    take(store, token="two").release()
    take(store, token="three")

    class Late(Bucket):
        def list(self, start: str, **how):
            yield from listed if listed else super().list(start, **how)
            listed.clear()

    late = BucketLeases(Late(store.location))
    assert late._place(TRIAL, leases_module.Holder.here("late")) is None
    assert [holder.token for holder in store.leases.holders(TRIAL)] == ["three"]


def test_a_bucket_that_is_not_there_is_named(in_process: None):
    with pytest.raises(StoreError, match="NoSuchBucket") as caught:
        open_store("s3://nowhere-at-all/results")
    assert "s3://nowhere-at-all" in caught.value.where
    assert "make the bucket" in caught.value.fix


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", ("bucket", "")),
        ("s3://bucket/", ("bucket", "")),
        ("s3://my.bucket-1/results", ("my.bucket-1", "results/")),
        ("s3://bucket/group/sweep.1/", ("bucket", "group/sweep.1/")),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(url: str, place: tuple[str, str]):
    assert parse_url(url) == place


@pytest.mark.parametrize(
    "rest",
    [
        *("", "/results", "x", "Bucket/results", "bucket/../other", "bucket/a//b", "bucket/a\n"),
        *("bucket/.hidden", "bucket/two words", "bucket/größe", "bucket/<script>"),
        *("key:hunter2@bucket/results", "bucket/results?secret=hunter2"),
    ],
)
def test_what_names_no_place_is_refused_and_not_repeated(rest: str):
    with pytest.raises(StoreError, match="names no place in a bucket") as caught:
        attach_store(f"s3://{rest}")
    assert "hunter2" not in str(caught.value)
    assert "s3://bucket/results" in caught.value.fix


@pytest.mark.parametrize(
    ("code", "status", "kind", "fix"),
    [
        ("AccessDenied", 403, StoreError, "allow s3:ListBucket"),
        ("", 403, StoreError, "check the credentials"),
        ("InvalidAccessKeyId", 403, StoreError, "AWS_ACCESS_KEY_ID"),
        ("QuotaExceeded", 409, StoreFull, "free some space"),
        ("", 507, StoreFull, "free some space"),
        ("InternalError", 500, StoreError, "launch again later"),
    ],
)
def test_a_refusal_is_raised_with_its_fix(
    store: S3Store, code: str, status: int, kind: type[StoreError], fix: str
):
    def refuse(**_: object) -> None:
        answer = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
        raise ClientError(answer, "PutObject")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.bucket._client, "put_object", refuse)
        with pytest.raises(StoreError, match=f"{code or status}") as caught:
            store.put(PLAIN, b"")
    assert type(caught.value) is kind
    assert fix in caught.value.fix
    assert caught.value.where == f"{store.location}/{PLAIN}"


def test_objects_that_cannot_be_removed_are_counted(store: S3Store):
    refused = {"Errors": [{"Message": "Access Denied"}, {}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store.bucket._client, "delete_objects", lambda **_: refused)
        with pytest.raises(StoreError, match="2 objects can't be removed: Access Denied"):
            store.bucket.remove(["a", "b"])
