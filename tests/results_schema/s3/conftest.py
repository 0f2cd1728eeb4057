"""S3 in this process, for tests that need no network, and a server for those that do."""

import itertools
from collections.abc import Iterator

import pytest
from clocks import Clock
from s3_server import make_bucket, reached_at, s3_server

from results_schema.s3.leases import BucketLeases
from results_schema.s3.store import S3Store

_number = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def in_process() -> Iterator[None]:
    from moto import mock_aws

    with reached_at("https://s3.us-east-1.amazonaws.com"), mock_aws():
        yield


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    """A place in a new bucket, of the server in modules that are marked `s3`."""
    request.getfixturevalue("server" if request.node.get_closest_marker("s3") else "in_process")
    return f"{make_bucket(f'bucket-{next(_number)}')}/some/results"


@pytest.fixture
def store(url: str, clock: Clock) -> S3Store:
    store = S3Store.at(url)
    store.leases = BucketLeases(store.bucket, clock)
    return store
