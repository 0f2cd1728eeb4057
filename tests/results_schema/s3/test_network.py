"""Stores in a bucket among processes, over a network that refuses and cuts off without any loss."""

import os

import pandas as pd
import pytest
from pyarrow.fs import S3FileSystem
from rough_network import Roughness, rough_network
from s3_server import SECRET, reached_at

from results_schema import layout, tables
from results_schema import lease as lease_module
from results_schema.errors import StoreError, Superseded
from results_schema.s3 import bucket as bucket_module
from results_schema.s3.bucket import Patience
from results_schema.s3.leases import block_name
from results_schema.s3.store import BLOCKS, S3Store
from results_schema.store import attach_store, open_store
from tests.results_schema.store_contract import SAMPLE, TRIAL, ConcurrencyContract, take

pytestmark = pytest.mark.s3


class TestS3Store(ConcurrencyContract):
    repeats, items, fences = 5, 12, 2
    contenders, rounds, expiry = 2, 5, 0.02


ROUGH = [
    Roughness(refused=0.2, seed=1),
    Roughness(cut_before=0.2, seed=2),
    Roughness(cut_after=0.2, seed=3),
    Roughness(cut_within=0.2, seed=4, only=("GET",)),
]


@pytest.mark.parametrize("roughness", ROUGH, ids=["503", "before", "after", "within"])
def test_work_continues_as_if_nothing_had_happened(server: str, url: str, roughness: Roughness):
    roughness.counts.clear()
    with rough_network(server, roughness):
        store = S3Store.at(url)
        lease = take(store, token="mine")
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
    old = take(store, token="old")
    store.put(SAMPLE, b"one", lease=old)
    store.leases.fence(TRIAL, "old")
    store.put(SAMPLE, b"two", lease=take(store, token="new"))
    with rough_network(server, Roughness(cut_before=0.5, only=("PUT",), seed=6)):
        assert not S3Store.at(url).bucket.create(block_name(f"{BLOCKS}{SAMPLE}/", 2), b"late")
        with pytest.raises(Superseded):
            store.put(SAMPLE, b"late", lease=old)
    assert store.get(SAMPLE) == b"two"


def test_a_server_that_refuses_all_the_time_is_an_error(server: str, url: str):
    roughness = Roughness(refused=1.0)
    refusal = r"Reduce your request rate\. \(SlowDown\)"
    with rough_network(server, roughness), pytest.raises(StoreError, match=refusal) as caught:
        S3Store.at(url).has(SAMPLE)
    assert "launch again later" in caught.value.fix
    assert roughness.counts["refused"] == 8


def test_a_server_or_credentials_that_are_not_there_are_an_error_without_secrets(
    monkeypatch: pytest.MonkeyPatch, tmp_path
):
    with reached_at("http://127.0.0.1:9"):
        with pytest.raises(StoreError, match="Could not connect") as caught:
            attach_store("s3://bucket/results").hasty.has(SAMPLE)
        assert SECRET not in str(caught.value)
        monkeypatch.setattr("boto3.DEFAULT_SESSION", None)  # which remembers them
        for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(variable)
        for variable in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
            monkeypatch.setenv(variable, str(tmp_path / "none"))
        with pytest.raises(StoreError, match="no credentials") as caught:
            attach_store("s3://bucket/results").has(SAMPLE)
        assert "AWS_ACCESS_KEY_ID" in caught.value.fix


def test_a_heartbeat_gives_up_on_a_server_that_does_not_answer_and_leaving_does_not_wait(
    server: str, url: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(bucket_module, "HASTY", Patience(tries=2, connect=0.2, read=0.2))
    monkeypatch.setattr(lease_module, "RELEASE_TIMEOUT", 0.2)
    roughness = Roughness()
    with rough_network(server, roughness):
        lease = take(S3Store.at(url))
        with lease:
            roughness.delay = 60
            with pytest.raises(StoreError, match=r"[Tt]imed? ?out"):
                lease.beat()
        assert lease._thread.is_alive(), "its release waits for an answer"
    assert S3Store.at(url).leases.held().keys() == {TRIAL}


def test_other_programs_see_the_last_tables_of_ended_trials_alone(url: str):
    filler = {"double": 0.5, "int64": 1, "int32": 1, "string": "x"}
    now = pd.Timestamp.now("UTC").to_pydatetime()
    row = {f.name: filler.get(str(f.type), now) for f in tables.METRICS}
    store = open_store(url)
    for trial in ("ended", "live"):
        lease = take(store, trial)
        for epoch in (1, 2, 3):
            rows = [row | {"trial_id": trial, "epoch": number} for number in range(1, epoch + 1)]
            data, final = tables.to_parquet(rows, tables.METRICS), (trial, epoch) == ("ended", 3)
            store.put(layout.metrics(trial), data, lease=lease, final=final)

    scheme, _, rest = os.environ["AWS_ENDPOINT_URL_S3"].partition("://")
    there = S3FileSystem(
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=SECRET,
        scheme=scheme,
        endpoint_override=rest,
    )
    place = f"{url.removeprefix('s3://')}/metrics"
    frame = pd.read_parquet(place, filesystem=there)
    assert list(zip(frame["trial_id"], frame["epoch"], strict=True)) == [
        ("ended", 1), ("ended", 2), ("ended", 3)
    ]  # fmt: skip
    store.delete(layout.metrics("ended"))
    assert len(pd.read_parquet(place, filesystem=there)) == 0
