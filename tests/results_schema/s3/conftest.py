"""A server for all tests of this folder, and an empty store for each."""

import itertools
from collections.abc import Iterator

import pytest
from s3_server import make_bucket, s3_server

from results_schema.s3.store import S3Store

_number = itertools.count()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def url(server: str) -> str:
    return f"{make_bucket(f'bucket-{next(_number)}')}/some/results"


@pytest.fixture
def store(url: str) -> S3Store:
    return S3Store.at(url)
