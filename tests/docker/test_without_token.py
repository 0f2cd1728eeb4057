"""From another host, what Ray answers to whoever lacks the token: nothing but its metrics."""

import os
import subprocess
import sys

import pytest
from ray_heads import TOKEN
from two_hosts import Host, Nodes

pytestmark = pytest.mark.timeout(300)

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
    say = (
        "from orchestrator.execution.access import asks_for_token as asks; "
        "print(asks('head:6379'), asks('head:6379', 'x'))"
    )
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
