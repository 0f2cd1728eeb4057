"""Ports on which a launch's own Ray listens, against the second table of SECURITY.md."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

ALONE = ["unshare", "--net"]
"""A network without any other Ray; it needs root."""
LISTENING = """
import json, subprocess, sys, time
import psutil
for step in (
    "link set lo up", "link add outside type veth peer name other", "link set outside up",
    "address add 10.231.7.1/24 dev outside", "route add default dev outside",
):
    subprocess.run(["ip", *step.split()], check=True)
from orchestrator.execution.access import apply_ray_settings
apply_ray_settings()
from rich.console import Console
from orchestrator.execution.cluster import cluster
with cluster(None, Console(file=sys.stderr)):
    import ray
    ray.get(ray.remote(lambda: None).remote())
    end = time.monotonic() + 120
    while True:
        found = [
            (c.laddr.port, c.laddr.ip)
            for c in psutil.net_connections("inet") if c.status == psutil.CONN_LISTEN
        ]
        if {int(p) for p in sys.argv[1:]} <= {p for p, _ in found} or time.monotonic() > end:
            break
        time.sleep(0.3)
    print(json.dumps(found))
"""


def documented(docker: Path) -> dict[int, str]:
    """The fixed ports of the table, to what listens on each."""
    text = (docker.parent / "SECURITY.md").read_text()
    _, _, table = text.partition("| port | what listens, at which address |")
    rows = re.findall(r"^\| (\d+)[^|]*\| ([^|]*) \|", table.partition("\n\n")[0], re.MULTILINE)
    return {int(port): what for port, what in rows}


def test_a_launch_listens_where_the_document_says(docker: Path):
    if subprocess.run([*ALONE, "true"], capture_output=True).returncode:
        pytest.skip("network namespaces are not allowed here")
    fixed = documented(docker)
    assert len(fixed) == 4
    done = subprocess.run(
        [*ALONE, sys.executable, "-c", LISTENING, *map(str, fixed)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = [(port, address) for port, address in json.loads(done.stdout.splitlines()[-1])]
    assert {port for port, _ in found} >= fixed.keys()
    first, last = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()
    chosen = {port for port, _ in found} - fixed.keys()
    assert chosen
    assert all(int(first) <= port <= int(last) for port in chosen)
    everywhere = {port for port, address in found if address in ("0.0.0.0", "::")}
    assert {port for port, what in fixed.items() if what.endswith("at all")} == (
        everywhere & fixed.keys()
    )
