"""Joining a Ray cluster that runs already, and being told why it can't be joined."""

import os
import subprocess
import sys
import tempfile
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
def running_cluster():
    """A head of its own, stopped at the end; yields its address and its folder."""
    # Ray's sockets need a short path; some of its processes outlive the head by a moment.
    own = tempfile.TemporaryDirectory(prefix="r", dir="/tmp", ignore_cleanup_errors=True)
    with (
        own as folder,
        subprocess.Popen(
            [sys.executable, "-c", HEAD, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **TOKEN},
        ) as head,
    ):
        try:
            assert head.stdout is not None
            address = head.stdout.readline().strip()
            assert address, "the head did not start"
            yield address, Path(folder)
            assert head.poll() is None, "the head was stopped"
        finally:
            head.kill()


def test_a_launch_joins_a_cluster_and_leaves_it_running(tmp_path: Path):
    experiment, store = write_experiment(tmp_path, epochs=1), tmp_path / "results"
    with running_cluster() as (address, session):
        code, output = launch(experiment, "--address", address, "--store", store, **TOKEN)
        assert code == 0, output
        told = wait_for(lambda: served(session, "ray_nas_sweep_"))
    [epochs] = told["ray_nas_sweep_epochs"].samples
    assert (epochs.value, epochs.labels["experiments"]) == (3, "small")
    assert "the value of RAY_AUTH_TOKEN" in output
    assert TOKEN["RAY_AUTH_TOKEN"] not in output
    assert len(Results(store).trials()) == 3
