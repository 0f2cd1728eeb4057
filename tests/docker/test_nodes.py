"""The commands of the image's nodes, run as they are on two hosts that are network namespaces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from ray_heads import TOKEN, ray_start, running
from sweeps import canonical, undisturbed, wait_for, write_experiment
from two_hosts import Host, missing, two_hosts

from results_schema.store import LocalStore

pytestmark = pytest.mark.timeout(300)

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


class Nodes(NamedTuple):
    """Both hosts, on each of which a node runs, and their environment."""

    head: Host
    worker: Host
    environment: dict[str, str]


def written(service: dict[str, Any]) -> list[str]:
    """A service's command, of the environment that runs the tests."""
    ray, start, *options = service["command"]
    assert (ray, start) == ("ray", "start")
    return ray_start(*options)


@pytest.fixture(scope="module")
def health(docker: Path) -> list[str]:
    """The image's check."""
    text = (docker / "Dockerfile").read_text()
    found = re.search(r"^HEALTHCHECK .*\\\n\s+CMD (\[.*\])$", text, re.MULTILINE)
    assert found
    python, *rest = json.loads(found[1])
    assert python == "python"
    return [sys.executable, *rest]


@pytest.fixture(scope="module")
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


def told(security: str) -> dict[int, tuple[str, str]]:
    """The ports of the document's table, to the nodes that have each and what it tells."""
    found: dict[int, tuple[str, str]] = {}
    for line in security.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"\d+(–\d+)?", cells[0]):
            first, _, last = cells[0].partition("–")
            for port in range(int(first), int(last or first) + 1):
                found[port] = cells[1], cells[3]
    return found


@pytest.fixture(scope="module")
def table(docker: Path) -> dict[int, tuple[str, str]]:
    return told((docker.parent / "SECURITY.md").read_text())


ASK = """
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
address, path, method, headers = sys.argv[1:5]
headers = dict(pair.split("=", 1) for pair in headers.split(";") if pair)
try:
    request = Request(f"http://{address}{path}", method=method, headers=headers)
    print(urlopen(request, timeout=5).status)
except HTTPError as error:
    print(error.code)
"""


def ask(host: Host, address: str, path: str, method: str = "GET", **headers: str) -> int:
    """What a request from one host to another is answered with."""
    pairs = ";".join(f"{name}={value}" for name, value in headers.items())
    done = host.run(sys.executable, "-c", ASK, address, path, method, pairs)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_every_port_that_listens_is_explained(nodes: Nodes, table: dict[int, tuple[str, str]]):
    for host, kind in ((nodes.head, {"head", "each"}), (nodes.worker, {"each"})):
        named = {port for port, (where, _) in table.items() if where in kind}
        fixed = {port for port in named if port not in range(6400, 6500)}
        wait_for(lambda host=host, fixed=fixed: fixed <= set(host.listening()))
        found = {port for port, addresses in host.listening().items() if addresses - LOOPBACK}
        assert not found - named


def test_the_documented_rules_close_them_all(docker: Path, table: dict[int, tuple[str, str]]):
    text = (docker.parent / "SECURITY.md").read_text()
    rules = [r"tcp dport \{ (.*) \} drop", r"--dports (\S*) -j DROP"]
    for rule in rules:
        found = re.search(rule, text)
        assert found
        closed: set[int] = set()
        for part in re.split(r",\s*", found[1]):
            first, _, last = part.replace(":", "-").partition("-")
            closed |= set(range(int(first), int(last or first) + 1))
        assert closed == set(table)


def test_from_another_host_nothing_is_done_without_the_token(nodes: Nodes):
    forged = {"Host": "localhost:8265", "Origin": "http://localhost:8265"}
    refused = {401, 403}
    for headers in ({}, forged, {"Authorization": "Bearer wrong"}):
        for address, path, method in (
            ("head:8265", "/api/jobs/", "GET"),
            ("head:8265", "/api/jobs/", "POST"),
            ("head:8265", "/nodes?view=summary", "GET"),
            ("head:6384", "/api/job_agent/jobs/", "POST"),
            ("head:6382", "/get_or_create_runtime_env", "POST"),
        ):
            assert ask(nodes.worker, address, path, method, **headers) in refused
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(nodes.worker, "head:8265", "/api/jobs/", **right) == 200
    say = "from orchestrator.access import asks; print(asks('head:6379'), asks('head:6379', 'x'))"
    assert nodes.worker.run(sys.executable, "-c", say).stdout == "True True\n"


CALL = """
import sys, grpc
with grpc.insecure_channel(sys.argv[1]) as channel:
    try:
        channel.unary_unary(sys.argv[2])(b"", timeout=5)
    except grpc.RpcError as error:
        print(error.code().name)
"""


@pytest.mark.parametrize(
    ("port", "method"),
    [
        (6379, "NodeInfoGcsService/GetAllNodeInfo"),
        (6379, "InternalKVGcsService/InternalKVPut"),
        (6380, "NodeManagerService/GetNodeStats"),
        (6381, "ObjectManagerService/Push"),
        (6383, "ReporterService/GetTraceback"),
        (6386, "RayletDriver/ClusterInfo"),
    ],
)
def test_nor_by_a_call(nodes: Nodes, port: int, method: str):
    done = nodes.worker.run(sys.executable, "-c", CALL, f"head:{port}", f"/ray.rpc.{method}")
    assert done.stdout == "UNAUTHENTICATED\n", done.stderr


ACTOR = """
import sys, ray
ray.init("head:6379", log_to_driver=False)

@ray.remote(num_cpus=0)
class Actor:
    def come(self):
        return "up"

actor = Actor.remote()
print(ray.get(actor.come.remote()), flush=True)
sys.stdin.read()
"""


def test_nor_by_a_call_of_a_worker_or_a_driver(nodes: Nodes):
    before = set(nodes.head.listening())
    driver = subprocess.Popen(
        nodes.head.command(sys.executable, "-c", ACTOR),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Else workers would be started by `uv run` where the tests are.
        env={**os.environ, **nodes.environment, "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"},
        text=True,
    )
    with driver:
        try:
            assert driver.stdout is not None
            assert driver.stdout.readline() == "up\n"
            came = sorted(set(nodes.head.listening()) - before)
            assert came
            assert set(came) <= set(range(6400, 6500))
            for port in came:
                test_nor_by_a_call(nodes, port, "CoreWorkerService/GetCoreWorkerStats")
        finally:
            driver.kill()


@pytest.mark.parametrize("port", [6385, 44217, 44227])
def test_metrics_are_open_as_the_table_says(
    nodes: Nodes, table: dict[int, tuple[str, str]], port: int
):
    assert table[port][1].startswith("**open**")
    assert ask(nodes.worker, f"head:{port}", "/metrics") == 200


@pytest.mark.long
def test_a_launch_on_two_hosts_gives_the_results_of_one(nodes: Nodes, tmp_path: Path):
    experiment = write_experiment(tmp_path, epochs=1)
    done = nodes.head.run(
        sys.executable, "-m", "orchestrator.cli", "launch", str(experiment), "--device", "cpu",
        "--address", "head:6379", "--store", str(tmp_path / "s"), **nodes.environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert TOKEN not in done.stdout + done.stderr
    alone = undisturbed(experiment, tmp_path / "alone")
    for here, there in zip(canonical(LocalStore(tmp_path / "s")), canonical(alone), strict=True):
        assert here.equals(there)


REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reach(port):
    try:
        socket.create_connection((sys.argv[1], port), timeout=1).close()
    except OSError:
        return False
    return True
ports = [int(port) for port in sys.argv[2:]]
with ThreadPoolExecutor(32) as pool:
    print(*(port for port, there in zip(ports, pool.map(reach, ports)) if there))
"""


def enforce(host: Host, security: str, kind: str, network: str) -> None:
    """Puts a documented firewall in force, for nodes of another network than the document's."""
    found = re.search(rf"```{kind}\n(.*?)```", security, re.DOTALL)
    assert found
    text = found[1].replace("10.0.0.0/24", network)
    if kind == "nft":
        done = [host.run("nft", "--file", "-", stdin=text)]
    else:
        done = [host.run(*line.split()) for line in text.splitlines()]
    assert not any(one.returncode for one in done), [one.stderr for one in done]


@pytest.mark.parametrize(("kind", "tool"), [("nft", "nft"), ("sh", "iptables")])
def test_behind_the_documented_firewall_nodes_alone_reach_ray(
    nodes: Nodes, docker: Path, table: dict[int, tuple[str, str]], kind: str, tool: str
):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    security = (docker.parent / "SECURITY.md").read_text()

    def reached() -> set[int]:
        ports = map(str, {*table, *nodes.head.listening()})
        done = nodes.worker.run(sys.executable, "-c", REACH, "head", *ports)
        assert done.returncode == 0, done.stderr
        return set(map(int, done.stdout.split()))

    openly = reached()
    assert {6379, 8265, 6385, 44217, 44227} <= openly
    for network, left in (("10.231.0.0/24", openly), ("10.99.0.0/24", set())):
        try:
            enforce(nodes.head, security, kind, network)
            assert reached() == left
        finally:
            nodes.head.run(*(("nft", "flush", "ruleset") if kind == "nft" else (tool, "--flush")))
    assert reached() == openly
