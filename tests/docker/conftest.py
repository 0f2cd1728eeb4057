"""The files of docker/ as data, and the nodes that their commands start on two hosts."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray_heads import TOKEN, ray_start, running
from ruamel.yaml import YAML
from s3_server import ENVIRONMENT as S3
from two_hosts import S3_PORT, Host, Nodes, missing, two_hosts

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def docker() -> Path:
    """The folder."""
    return ROOT / "docker"


@pytest.fixture(scope="session")
def compose(docker: Path) -> dict[str, Any]:
    """`compose.yaml`, its anchors and merges unfolded."""
    return YAML(typ="safe", pure=True).load(docker / "compose.yaml")


def written(service: dict[str, Any]) -> list[str]:
    """A service's command, of the environment that runs the tests."""
    ray, start, *options = service["command"]
    assert (ray, start) == ("ray", "start")
    return ray_start(*options)


@pytest.fixture(scope="package")
def health(docker: Path) -> list[str]:
    """The image's check."""
    text = (docker / "Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert found
    python, *rest = json.loads(found[1])
    assert python == "python"
    return [sys.executable, *rest]


@pytest.fixture(scope="package")
def nodes(
    compose: dict[str, Any], health: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Nodes]:
    if why := missing():
        pytest.skip(why)
    home = tmp_path_factory.mktemp("home")
    secret = home / "ray_token"
    secret.touch(mode=0o600)
    secret.write_text(TOKEN)
    services = compose["services"]
    # As the service says, but for where a secret is mounted.
    environment = services["head"]["environment"] | {
        "RAY_AUTH_TOKEN_PATH": str(secret),
        "HOME": str(home),
        **S3,
        "AWS_ENDPOINT_URL_S3": f"http://head:{S3_PORT}",
    }
    with two_hosts() as (head, worker):

        def up(host: Host) -> bool:
            return host.run(*health).returncode == 0

        assert not up(head)
        command = head.command(*written(services["head"]))
        with running(command, lambda: up(head), **environment):
            assert not up(worker)
            # A core is enough, and tells the worker from the head.
            command = worker.command(*written(services["cpu-worker"]), "--num-cpus=2")
            with running(command, lambda: up(worker), **environment):
                yield Nodes(head, worker, environment)


def read_ports(security: str) -> dict[int, tuple[str, str]]:
    """The ports of the document's table, to the nodes that have each and what it answers."""
    found: dict[int, tuple[str, str]] = {}
    for line in security.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"\d+(–\d+)?", cells[0]):
            first, _, last = cells[0].partition("–")
            for port in range(int(first), int(last or first) + 1):
                found[port] = cells[1], cells[3]
    return found


@pytest.fixture(scope="package")
def table(docker: Path) -> dict[int, tuple[str, str]]:
    return read_ports((docker.parent / "SECURITY.md").read_text())
