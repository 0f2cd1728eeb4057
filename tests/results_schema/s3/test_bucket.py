"""A bucket: its URL, and a network that refuses and cuts off without any loss."""

import pytest
from rough_network import Roughness, rough_network

from results_schema import lease as lease_module
from results_schema.errors import StoreError, Superseded
from results_schema.s3 import bucket as bucket_module
from results_schema.s3.bucket import Patience, parse_url
from results_schema.s3.leases import block_name
from results_schema.s3.store import BLOCKS, S3Store
from results_schema.store import attach_store
from tests.results_schema.store_contract import SAMPLE, TRIAL


@pytest.mark.parametrize(
    ("url", "bucket", "prefix"),
    [
        ("s3://bucket", "bucket", ""),
        ("s3://bucket/", "bucket", ""),
        ("s3://my.bucket-1/results", "my.bucket-1", "results/"),
        ("s3://bucket/group/sweep.1/", "bucket", "group/sweep.1/"),
    ],
)
def test_an_address_is_a_bucket_and_a_prefix(url: str, bucket: str, prefix: str):
    assert parse_url(url) == (bucket, prefix)


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "s3:///results",
        "s3://x",
        "s3://Bucket/results",
        "s3://bucket/../other",
        "s3://bucket/a//b",
        "s3://bucket/.hidden",
        "s3://bucket/two words",
        "s3://bucket/größe",
        "s3://bucket/<script>",
        "s3://bucket/a\n",
        "s3://key:hunter2@bucket/results",
        "s3://bucket/results?secret=hunter2",
    ],
)
def test_what_names_no_place_is_refused_and_not_repeated(url: str):
    with pytest.raises(StoreError, match="names no place in a bucket") as caught:
        attach_store(url)
    assert "hunter2" not in str(caught.value)
    assert "s3://bucket/results" in caught.value.fix


ROUGH = [
    Roughness(refused=0.2, seed=1),
    Roughness(cut_before=0.2, seed=2),
    Roughness(cut_after=0.2, seed=3),
    Roughness(cut_within=0.2, seed=4, only=("GET",)),
]


@pytest.mark.parametrize("roughness", ROUGH, ids=["503", "before", "after", "within"])
def test_work_goes_on_as_if_nothing_had_happened(server: str, url: str, roughness: Roughness):
    roughness.counts.clear()
    with rough_network(server, roughness):
        store = S3Store.at(url)
        lease = store.leases.take(TRIAL, "mine")
        assert lease
        for number in range(12):
            store.put(SAMPLE, b"%d" % number * 500, lease=lease)
            assert store.get(SAMPLE) == b"%d" % number * 500
        assert lease.beat()
        assert [holder.token for holder in store.leases.holders(TRIAL)] == ["mine"]
        assert store.list("trials/") == [SAMPLE]
        store.delete(SAMPLE, lease=lease)
        assert not store.has(SAMPLE)
        lease.release()
        assert store.leases.free(TRIAL)
    assert roughness.counts.total() - roughness.counts["passed"] > 3, "nothing went wrong"


def test_a_put_that_was_done_though_its_answer_was_lost_is_ours(server: str, url: str):
    with rough_network(server, Roughness(cut_after=0.5, only=("PUT",), seed=5)):
        bucket = S3Store.at(url).bucket
        made = [bucket.create(f"x/{number}", b"mine") for number in range(5)]
    assert made == [True] * 5
    assert not S3Store.at(url).bucket.create("x/0", b"another's")


def test_a_lost_answer_does_not_pass_anothers_block_for_ours(server: str, url: str):
    store = S3Store.at(url)
    old = store.leases.take(TRIAL, "old")
    assert old
    store.put(SAMPLE, b"one", lease=old)
    store.leases.fence(TRIAL, "old")
    new = store.leases.take(TRIAL, "new")
    assert new
    store.put(SAMPLE, b"two", lease=new)
    with rough_network(server, Roughness(cut_before=0.5, only=("PUT",), seed=6)):
        assert not S3Store.at(url).bucket.create(block_name(f"{BLOCKS}{SAMPLE}/", 2), b"late")
        with pytest.raises(Superseded):
            store.put(SAMPLE, b"late", lease=old)
    assert store.get(SAMPLE) == b"two"


def test_a_server_that_refuses_all_the_time_is_told(server: str, url: str):
    roughness = Roughness(refused=1.0)
    refusal = r"Reduce your request rate\. \(SlowDown\)"
    with rough_network(server, roughness), pytest.raises(StoreError, match=refusal) as caught:
        S3Store.at(url).has(SAMPLE)
    assert "launch again later" in caught.value.fix
    assert roughness.counts["refused"] == 8


def test_a_heartbeat_gives_up_on_a_server_that_does_not_answer_and_leaving_waits_for_none(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket_module, "HASTY", Patience(tries=2, connect=0.2, read=0.2))
    monkeypatch.setattr(lease_module, "RELEASE_TIMEOUT", 0.2)
    roughness = Roughness()
    with rough_network(server, roughness):
        store = S3Store.at(url)
        lease = store.leases.take(TRIAL)
        assert lease
        with lease:
            roughness.delay = 60
            with pytest.raises(StoreError, match=r"[Tt]imed? ?out"):
                lease.beat()
        assert lease._thread.is_alive(), "its release waits for an answer, and nothing for it"
    assert S3Store.at(url).leases.held().keys() == {TRIAL}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_seconds_before_each_answer_change_nothing(server: str, url: str):
    with rough_network(server, Roughness(delay=2.0)):
        store = S3Store.at(url)
        lease = store.leases.take(TRIAL)
        assert lease
        with lease:
            for number in range(3):
                store.put(SAMPLE, b"%d" % number, lease=lease)
                assert store.get(SAMPLE) == b"%d" % number
        assert store.leases.free(TRIAL)
