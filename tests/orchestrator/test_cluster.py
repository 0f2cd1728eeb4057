"""Joining a Ray cluster that runs already, and being told why it can't be joined."""

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
from metric_pages import served
from sweeps import launch, wait_for, write_experiment

from results_schema.results import Results

pytestmark = pytest.mark.timeout(400)

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "5e" * 16}

HEAD = """
import ray, sys
context = ray.init("local", num_cpus=2, include_dashboard=True, _temp_dir=sys.argv[1],
                   object_store_memory=100_000_000, log_to_driver=False)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
"""


@contextmanager
def running_cluster(folder: Path):
    """A head of its own, stopped at the end; yields its address."""
    head = subprocess.Popen(
        [sys.executable, "-c", HEAD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **TOKEN},
    )
    with head:
        try:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            assert address, "the head did not start"
            yield address
            assert head.poll() is None, "the head was stopped"
        finally:
            head.kill()


def test_a_launch_joins_a_cluster_and_leaves_it_running(tmp_path_factory):
    # Ray's sockets need a short path.
    folder = tmp_path_factory.mktemp("c")
    experiment = write_experiment(folder, epochs=1)
    with running_cluster(folder / "ray") as address:
        code, output = launch(experiment, "--address", address, "--store", folder / "s", **TOKEN)
        assert code == 0, output
        told = wait_for(lambda: served(folder / "ray", "ray_nas_sweep_"))
    [epochs] = told["ray_nas_sweep_epochs"].samples
    assert (epochs.value, epochs.labels["experiments"]) == (3, "small")
    assert "the value of RAY_AUTH_TOKEN" in output
    assert TOKEN["RAY_AUTH_TOKEN"] not in output
    assert len(Results(folder / "s").trials()) == 3
