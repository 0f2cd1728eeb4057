"""Nodes of a cluster killed again and again while their workers write on, and the head too."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from disturbing import OPTIONS, foreign, held_open
from marks import children
from ray_nodes import cluster_of_nodes
from soundness import LANDSCAPES, Reader, assert_equal
from sweeps import finish, launch, started, undisturbed, wait_for, write_experiment

from results_schema import layout
from results_schema.store import LocalStore, open_store

pytestmark = [pytest.mark.timeout(1800), pytest.mark.long, pytest.mark.cluster]

KILLS, TRIALS = 10, 8
LANDSCAPE = """
landscape:
  contour: {grid: 9}
  gradient_variance: {grid: 3, subset: 40}
"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight trials with two surfaces each."""
    folder = tmp_path_factory.mktemp("nodes")
    seeds = ", ".join(map(str, range(TRIALS)))
    experiment = write_experiment(folder, epochs=12, seeds=seeds)
    experiment.write_text(experiment.read_text() + LANDSCAPE)
    return experiment


@pytest.fixture(scope="module")
def reference(experiment: Path, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return undisturbed(experiment, tmp_path_factory.mktemp("reference") / "results")


def test_nodes_killed_again_and_again_leave_no_trace(
    tmp_path: Path, experiment: Path, reference: LocalStore
):
    store, draws = open_store(tmp_path / "results"), random.Random(8)
    busy = False
    with cluster_of_nodes() as cluster, Reader(store, reference) as reader:
        nodes = [cluster.join() for _ in range(2)]
        command = ("launch", experiment, *OPTIONS, "--address", cluster.address)
        with started(*command, "--store", store.root, **cluster.environment) as sweep:
            with held_open(experiment, store):
                for number in range(KILLS):
                    wait_for(lambda: foreign(store) or at_rest(store))
                    time.sleep(draws.uniform(0, 1))
                    node = nodes.pop(number % 2)
                    workers = {p.pid for p in children(node.process)}
                    busy |= bool(workers & set(foreign(store)))
                    cluster.kill(node)
                    nodes.append(cluster.join())
            code, output = finish(sweep, seconds=900)
        assert code == 0, output
        assert "Traceback" not in output
    assert reader.wrong == []
    assert_equal(store, reference, *LANDSCAPES)
    assert busy


def at_rest(store: LocalStore) -> bool:
    """Whether all has ended but the trial that is held open, and its surfaces."""
    ended = [len(layout.names(store.list(one))) for one in (layout.TRIALS, layout.SURFACES)]
    return ended == [TRIALS - 1, 2 * (TRIALS - 1)]


def test_a_head_that_is_killed_takes_nothing_along(
    tmp_path: Path, experiment: Path, reference: LocalStore
):
    store = open_store(tmp_path / "results")
    with cluster_of_nodes() as cluster:
        command = (experiment, *OPTIONS[2:], "--address", cluster.address, "--store", store.root)
        cluster.join(cpus=2)
        with held_open(experiment, store):
            with started("launch", "--device", "cpu", *command, **cluster.environment) as sweep:
                wait_for(lambda: foreign(store))
                head = next(p for p in cluster.alive() if "gcs_server" in p.name())
                for process in (head.parent(), head):
                    if process is not None:
                        os.kill(process.pid, signal.SIGKILL)
                code, output = finish(sweep, seconds=120)
            assert code != 0
            wait_for(lambda: not foreign(store))
        cluster.clear()
        cluster.head()
        cluster.join(cpus=2)
        code, output = launch(*command, **cluster.environment)
    assert code == 0, output
    assert_equal(store, reference, *LANDSCAPES)
