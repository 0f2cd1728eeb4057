"""The commands of the image's nodes, run as they are on two hosts that are network namespaces."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from ray_heads import TOKEN
from sweeps import canonical, undisturbed, wait_for, write_experiment
from two_hosts import Nodes

from results_schema.store import LocalStore

pytestmark = pytest.mark.timeout(300)

LOOPBACK = {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_every_port_that_listens_is_explained(nodes: Nodes, table: dict[int, tuple[str, str]]):
    for host, kind in ((nodes.head, {"head", "each"}), (nodes.worker, {"each"})):
        named = {port for port, (where, _) in table.items() if where in kind}
        fixed = {port for port in named if port not in range(6400, 6500)}
        wait_for(lambda host=host, fixed=fixed: fixed <= set(host.listening()))
        found = {port for port, addresses in host.listening().items() if addresses - LOOPBACK}
        assert not found - named


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
