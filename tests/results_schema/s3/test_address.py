"""Addresses of stores in buckets: what is one, and that no secret in one is repeated."""

import pytest

from results_schema.errors import StoreError
from results_schema.s3.bucket import Address
from results_schema.store import attach_store


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
    assert Address.of(url) == Address(bucket, prefix)
    assert str(Address.of(url)) == url.rstrip("/")


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
