"""The commands of the image's nodes, run as they are on two hosts that are network namespaces."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ray_heads import TOKEN
from s3_server import SECRET, serving
from soundness import LANDSCAPES, TABLES, digest
from sweeps import undisturbed, wait_for, write_experiment
from two_hosts import S3_PORT, Host, Nodes

from orchestrator.config.experiment import load_experiment
from workers.landscape.survey import survey

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

SUPPORT = Path(__file__).parents[1] / "support"
LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}

PortTable = dict[int, tuple[str, str]]


def python(host: Host, code: str, *words: Any, **environment: str) -> str:
    """What a program prints on a host that has what the tests share."""
    paths = os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])])
    done = host.run(sys.executable, "-c", code, *map(str, words), PYTHONPATH=paths, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_port_that_listens_is_explained(nodes: Nodes, table: PortTable):
    for host, kind in ((nodes.head, {"head", "each"}), (nodes.worker, {"each"})):
        named = {port for port, (where, _) in table.items() if where in kind}
        fixed = {port for port in named if port not in range(6400, 6500)}
        wait_for(lambda host=host, fixed=fixed: fixed <= set(host.listening()))
        found = {port for port, addresses in host.listening().items() if addresses - LOOPBACK}
        assert not found - named


ASK = """
import json, sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen
def ask(address, path, method="GET", headers={}):
    try:
        request = Request(f"http://{address}{path}", method=method, headers=headers)
        return urlopen(request, timeout=60).status
    except HTTPError as error:
        return error.code
print(json.dumps([ask(*one) for one in json.loads(sys.argv[1])]))
"""


def ask(host: Host, *requests: tuple[Any, ...]) -> list[int]:
    """What requests from one host to another are answered with."""
    return json.loads(python(host, ASK, json.dumps(requests)))


def test_from_another_host_no_page_answers_without_the_token(nodes: Nodes, table: PortTable):
    forged = {"Host": "localhost:8265", "Origin": "http://localhost:8265"}
    requests = [
        (address, path, method, headers)
        for headers in ({}, forged, {"Authorization": "Bearer wrong"})
        for address, path, method in (
            ("head:8265", "/api/jobs/", "GET"),
            ("head:8265", "/api/jobs/", "POST"),
            ("head:8265", "/nodes?view=summary", "GET"),
            ("head:6384", "/api/job_agent/jobs/", "POST"),
            ("head:6382", "/get_or_create_runtime_env", "POST"),
        )
    ]
    assert set(ask(nodes.worker, *requests)) <= {401, 403}
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert ask(nodes.worker, ("head:8265", "/api/jobs/", "GET", right)) == [200]
    metrics = [port for port, (_, answer) in table.items() if answer.startswith("**open**")]
    assert {6385, 44217, 44227} <= set(metrics)
    assert set(ask(nodes.worker, *((f"head:{port}", "/metrics") for port in metrics))) == {200}
    code = (
        "from orchestrator.execution.access import asks_for_token as asks; "
        "print(asks('head:6379'), asks('head:6379', 'x'))"
    )
    assert python(nodes.worker, code) == "True True"


CALL = """
import json, sys, grpc
for port, method in json.loads(sys.argv[1]):
    with grpc.insecure_channel(f"head:{port}") as channel:
        try:
            channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=60)
        except grpc.RpcError as error:
            print(error.code().name)
"""
METHODS = [
    (6379, "NodeInfoGcsService/GetAllNodeInfo"),
    (6379, "InternalKVGcsService/InternalKVPut"),
    (6380, "NodeManagerService/GetNodeStats"),
    (6381, "ObjectManagerService/Push"),
    (6383, "ReporterService/GetTraceback"),
    (6386, "RayletDriver/ClusterInfo"),
]
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


def test_no_call_is_answered_without_the_token(nodes: Nodes):
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
            # Ports of workers and of the driver.
            came = sorted(set(nodes.head.listening()) - before)
            assert came and set(came) <= set(range(6400, 6500))
            calls = [*METHODS, *((port, "CoreWorkerService/GetCoreWorkerStats") for port in came)]
            answers = python(nodes.worker, CALL, json.dumps(calls)).split()
            assert answers == ["UNAUTHENTICATED"] * len(calls)
        finally:
            driver.kill()


def test_the_documented_rules_close_every_port(docker: Path, table: PortTable):
    text = (docker.parent / "SECURITY.md").read_text()
    for rule in (r"tcp dport \{ (.*) \} drop", r"--dports (\S*) -j DROP"):
        [ports] = re.findall(rule, text)
        closed: set[int] = set()
        for part in re.split(r",\s*", ports):
            first, _, last = part.replace(":", "-").partition("-")
            closed |= set(range(int(first), int(last or first) + 1))
        assert closed == set(table)


REACH = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def reach(port):
    try:
        socket.create_connection(("head", port), timeout=1).close()
    except OSError:
        return False
    return True
ports = [int(port) for port in sys.argv[1:]]
with ThreadPoolExecutor(32) as pool:
    print(*(port for port, there in zip(ports, pool.map(reach, ports)) if there))
"""


@pytest.mark.parametrize(("kind", "tool"), [("nft", "nft"), ("sh", "iptables")])
def test_behind_the_documented_firewall_nodes_alone_reach_ray(
    nodes: Nodes, docker: Path, table: PortTable, kind: str, tool: str
):
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    security = (docker.parent / "SECURITY.md").read_text()
    [rules] = re.findall(rf"```{kind}\n(.*?)```", security, re.DOTALL)

    def reached() -> set[int]:
        ports = {*table, *nodes.head.listening()}
        return set(map(int, python(nodes.worker, REACH, *ports).split()))

    openly = reached()
    assert {6379, 8265, 6385, 44217, 44227} <= openly
    # The network of these nodes, then another, in the place of the document's.
    for network, left in (("10.231.0.0/24", openly), ("10.99.0.0/24", set())):
        text = rules.replace("10.0.0.0/24", network)
        commands = ["nft --file -"] if kind == "nft" else text.splitlines()
        try:
            for command in commands:
                done = nodes.head.run(*command.split(), stdin=text)
                assert done.returncode == 0, done.stderr
            assert reached() == left
        finally:
            nodes.head.run(*(("nft", "flush", "ruleset") if kind == "nft" else (tool, "--flush")))
    assert reached() == openly


LANDSCAPE = """
landscape: {contour: {grid: 5}, gradient_variance: {grid: 3, subset: 20}}
"""
MAKE = "from s3_server import make_bucket; print(make_bucket('sweep'))"
LOOK = """
import json, sys
from soundness import LANDSCAPES, TABLES, digest
from results_schema.results import Results
from results_schema.store import attach_store
store = attach_store(sys.argv[1])
found = {"digest": digest(store, (*TABLES, *LANDSCAPES)), "held": list(store.leases.held())}
print(json.dumps(found | {"attempts": Results(store).trials()["attempts"].tolist()}))
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_launch_on_two_hosts_that_share_a_bucket_gives_the_results_of_one(
    nodes: Nodes, tmp_path: Path
):
    head, environment = nodes.head, nodes.environment
    experiment = write_experiment(tmp_path, epochs=2)
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    with serving(head.address, S3_PORT, head.command()):
        url = f"{python(head, MAKE, **environment)}/results"
        done = head.run(
            sys.executable, "-m", "orchestrator.cli", "launch", str(experiment), "--device", "cpu",
            "--address", "head:6379", "--store", url, **environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        for secret in (TOKEN, SECRET):
            assert secret not in done.stdout + done.stderr
        found = json.loads(python(nodes.worker, LOOK, url, **environment))
    alone = undisturbed(experiment, tmp_path / "alone")
    for surface in load_experiment(experiment).surfaces():
        assert survey(surface, alone, device="cpu").status == "done"
    expected = digest(alone, (*TABLES, *LANDSCAPES))
    assert found == {"digest": expected, "attempts": [1, 1, 1], "held": []}
