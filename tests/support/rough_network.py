"""A proxy before an S3 server that refuses, delays and cuts off, as networks and servers do."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from s3_server import reached_at

SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"


@dataclass
class Roughness:
    """What happens to requests; what did is counted.

    Attributes:
        refused: Share that is answered with 503.
        cut_before: Share whose connection is closed unread.
        cut_after: Share whose connection is closed instead of the answer, after all was done.
        cut_within: Share whose answer ends in its middle.
        delay: Seconds before each.
        only: Methods that are meant, all if empty.
        seed: Of the draws.
        counts: Of each kind.
    """

    refused: float = 0.0
    cut_before: float = 0.0
    cut_after: float = 0.0
    cut_within: float = 0.0
    delay: float = 0.0
    only: tuple[str, ...] = ()
    seed: int = 0
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._draws, self._lock = random.Random(self.seed), threading.Lock()

    def draw(self, method: str) -> str:
        """What happens to the next request; empty for nothing."""
        with self._lock:
            left, drawn = self._draws.random(), ""
            for name in ("refused", "cut_before", "cut_after", "cut_within"):
                if not drawn and left < getattr(self, name):
                    drawn = name
                left -= getattr(self, name)
            drawn = drawn if not self.only or method in self.only else ""
            self.counts[drawn or "passed"] += 1
            return drawn


@contextmanager
def rough_network(server: str, roughness: Roughness) -> Iterator[None]:
    """Within it boto3 reaches the server through the proxy, and hardly waits between two tries."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.close_connection = True
            time.sleep(roughness.delay)
            drawn = roughness.draw(self.command)
            if drawn == "cut_before":
                return
            if drawn == "refused":
                self.answer(503, [("Content-Type", "application/xml")], SLOW_DOWN, len(SLOW_DOWN))
                return
            answer, data = self.forward(body)
            if drawn == "cut_after":
                return
            headers = [(k, v) for k, v in answer.getheaders() if k.lower() not in _OWN]
            size = int(answer.getheader("Content-Length") or len(data))
            half = len(data) // 2 if drawn == "cut_within" else len(data)
            self.answer(answer.status, headers, data[:half], size)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_request  # noqa: N815

        def forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
            connection = HTTPConnection(urlsplit(server).netloc, timeout=60)
            connection.putrequest(self.command, self.path, True, True)  # its own headers alone
            for name, value in self.headers.items():
                if name.lower() != "expect":
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer, data

        def answer(
            self, status: int, headers: list[tuple[str, str]], data: bytes, size: int
        ) -> None:
            self.send_response_only(status)
            for name, value in headers:
                self.send_header(name, value)
            self.send_header("Content-Length", str(size))
            self.send_header("Connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        with (
            reached_at(f"http://127.0.0.1:{proxy.server_port}"),
            pytest.MonkeyPatch.context() as patch,
        ):
            backoff = "botocore.retries.standard.ExponentialBackoff.delay_amount"
            patch.setattr(backoff, lambda self, context: 0.001)
            yield
    finally:
        proxy.shutdown()
        proxy.server_close()


_OWN = {"content-length", "connection", "transfer-encoding"}
