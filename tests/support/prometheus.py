"""A real Prometheus, set up as the documents say."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_heads import answers

DOCS = Path(__file__).parents[2] / "docs/monitoring.md"
DISCOVERY = "RAY/prom_metrics_service_discovery.json"

Sample = tuple[dict[str, str], float]


def missing() -> str:
    """Why there can be none on this machine, or empty."""
    found = shutil.which("prometheus")
    return "" if found else "no prometheus (Debian: apt-get install prometheus)"


@dataclass
class Prometheus:
    """One that runs.

    Attributes:
        address: Of its pages.
    """

    address: str

    def ask(self, expression: str) -> list[Sample]:
        """What an expression comes to now: each series' labels, and its value.

        Raises:
            AssertionError: It can't be parsed.
        """
        words = urllib.parse.urlencode({"query": expression})
        try:
            with urllib.request.urlopen(
                f"{self.address}/api/v1/query?{words}", timeout=10
            ) as reply:
                found: dict[str, Any] = json.load(reply)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{expression}: {error.read().decode()}") from error
        return [(one["metric"], float(one["value"][1])) for one in found["data"]["result"]]

    def until(self, expression: str, holds: Callable[[list[Sample]], bool]) -> list[Sample]:
        """What an expression comes to once it is as wanted."""
        end = time.monotonic() + 60
        while not holds(found := self.ask(expression)):
            assert time.monotonic() < end, (expression, found)
            time.sleep(0.5)
        return found


def documented(discovery: Path) -> str:
    """The configuration that the documents give, of a head whose file of nodes lies elsewhere."""
    [config] = re.findall(r"^```yaml\n(.+?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)
    assert DISCOVERY in config
    return config.replace(DISCOVERY, str(discovery))


@contextlib.contextmanager
def prometheus(folder: Path, config: str) -> Iterator[Prometheus]:
    """Prometheus with a configuration and an empty history; gone at the end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    file, log = folder / "prometheus.yml", folder / "prometheus.log"
    file.write_text(config)
    command = [
        "prometheus",
        f"--config.file={file}",
        f"--storage.tsdb.path={folder / 'history'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
    with process:
        try:
            address = f"http://127.0.0.1:{port}"
            end = time.monotonic() + 30
            while not answers(f"{address}/-/ready"):
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.1)
            yield Prometheus(address)
        finally:
            process.kill()
