"""The firewall that SECURITY.md gives, in force before a real cluster."""

import re
import shutil
import sys
from pathlib import Path

import pytest
from two_hosts import Host, Nodes

pytestmark = pytest.mark.timeout(300)


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
