"""A real S3 server, in a process of its own: moto, which answers one request at a time.

python s3_server.py ADDRESS PORT prints the port, which is a free one for 0.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

SECRET = "the-secret-key-of-the-tests"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "the-key-of-the-tests",
    "AWS_SECRET_ACCESS_KEY": SECRET,
    "AWS_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """The server's address; within it every process that is started finds it and credentials."""
    with serving("127.0.0.1") as port, reached_at(f"http://127.0.0.1:{port}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def serving(address: str, port: int = 0, before: Sequence[str] = ()) -> Iterator[int]:
    """A server that listens there; its port.

    Args:
        address: To listen on.
        port: 0 for a free one.
        before: Words before the command, such as those that run it on another host.
    """
    command = [*before, sys.executable, __file__, address, str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def reached_at(address: str) -> Iterator[None]:
    """Within it boto3 looks for S3 there, with credentials."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name, value in (ENVIRONMENT | {"AWS_ENDPOINT_URL_S3": address}).items():
            patch.setenv(name, value)
        yield


def make_bucket(name: str) -> str:
    """An empty bucket; its URL."""
    import boto3

    boto3.client("s3").create_bucket(Bucket=name)
    return f"s3://{name}"


def main() -> None:
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log(self, type: str, message: str, *args: object) -> None:
            pass

    application = DomainDispatcherApplication(create_backend_app)
    # One at a time: moto looks whether an object is there and puts it in two steps.
    address, port = sys.argv[1], int(sys.argv[2])
    server = make_server(address, port, application, threaded=False, request_handler=Quiet)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
