"""Nodes of a real cluster: with other code, too late, gone again, and with unlike GPUs."""

import json
import math
import re
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from disturbing import OPTIONS, foreign, held_open
from ray_nodes import Cluster, cluster_of_nodes
from sweeps import finish, launch, started, trained_epochs, wait_for, write_experiment

from orchestrator.execution.jobs import pack_code
from orchestrator.execution.trainable import (
    code_digest,
    own_versions,
)
from results_schema import layout
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from workers.training import device

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long, pytest.mark.cluster]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # Ray lets workers import from the folder of their driver, which must not be this code's.
    monkeypatch.chdir(tmp_path)
    with cluster_of_nodes() as cluster:
        yield cluster


def altered(folder: Path) -> Path:
    """This code, with one more comment in what workers run."""
    folder.mkdir()
    pack_code(folder)
    with (folder / "workers/draws.py").open("a") as code:
        code.write("# another\n")
    return folder


def untouched(store: LocalStore) -> bool:
    """Whether no trial has failed, begun or ended."""
    folders = layout.FAILURES, layout.CHECKPOINTS, layout.LEASES
    trials = layout.names(store.list(layout.TRIALS))
    return not (trials or any(store.list(folder) for folder in folders))


def test_nodes_that_run_something_else_are_refused(cluster: Cluster, tmp_path: Path):
    experiment, store = write_experiment(tmp_path, epochs=2), open_store(tmp_path / "results")
    command = (experiment, "--address", cluster.address, "--store", store.root)
    here, other = own_versions(), altered(tmp_path / "other")

    node = cluster.join(cpus=2, PYTHONPATH=str(other))
    code, output = launch(*command, **cluster.environment)
    assert code == 3, output
    [line] = [line for line in output.splitlines() if line.startswith("stopped: node ")]
    assert here["code"] in line
    assert code_digest(other) in line
    assert "--ship-code" in output
    assert not re.search("Traceback|failed", output)
    assert untouched(store)

    code, output = launch(*command, "--ship-code", **cluster.environment)
    assert code == 0, output
    trials = Results(store).trials()
    assert len(trials) == 3
    assert set(trials["commit"].fillna("")) == {device.code_origin()["commit"] or ""}
    cluster.kill(node)

    fresh = open_store(tmp_path / "fresh")
    command = (*command[:-1], fresh.root)
    about = tmp_path / "torch" / "torch-0.0.1.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 0.0.1\n")
    node = cluster.join(cpus=2, PYTHONPATH=str(about.parent))
    code, output = launch(*command, **cluster.environment)
    assert code == 3, output
    assert f"it has torch 0.0.1, and this launch has torch {here['torch']}" in output
    assert untouched(fresh)
    cluster.kill(node)

    empty = tmp_path / "empty" / "orchestrator"
    empty.mkdir(parents=True)
    # As if it were not there: what is installed beside would be found otherwise.
    (empty / "__init__.py").write_text("raise ModuleNotFoundError(f'No module named {__name__!r}')")
    cluster.join(cpus=2, PYTHONPATH=str(empty.parent))
    code, output = launch(*command, **cluster.environment)
    assert code == 3, output
    assert re.search("stopped: .*node.*: it can't load nas-sweep: ModuleNotFoundError", output)
    assert not re.search("Traceback|failed", output)
    assert untouched(fresh)


def test_a_node_that_sees_no_store_is_refused(cluster: Cluster, tmp_path: Path):
    experiment, store = write_experiment(tmp_path, epochs=2), open_store(tmp_path / "results")
    command = ("launch", experiment, *OPTIONS, "--address", cluster.address, "--store", store.root)
    cluster.join()
    with started(*command, **cluster.environment) as sweep:
        # What tells the store from another folder of that name, gone before Ray has started.
        [key] = wait_for(lambda: store.list(layout.REQUESTS))
        store.delete(key)
        code, output = finish(sweep)
    assert code == 3, output
    assert f"it does not see the store\n  every node must reach {store.root}" in output
    assert untouched(store)


EPOCHS, SEEDS = 12, 8


def test_late_nodes_are_used_and_lost_ones_cost_an_interval(cluster: Cluster, tmp_path: Path):
    seeds = ", ".join(map(str, range(SEEDS)))
    experiment = write_experiment(tmp_path, epochs=EPOCHS, seeds=seeds)
    store = open_store(tmp_path / "results")
    command = ("launch", experiment, *OPTIONS, "--address", cluster.address, "--store", store.root)
    first = cluster.join(cpus=1)
    with started(*command, **cluster.environment) as sweep:
        with held_open(experiment, store):
            wait_for(lambda: foreign(store))
            second = cluster.join(cpus=2)
            wait_for(lambda: len(foreign(store)) >= 2)
            wait_for(lambda: trained_epochs(store) > EPOCHS)
            before = reached(store)
            cluster.kill(first)
            cluster.kill(second)
            third = cluster.join(cpus=2)
        code, output = finish(sweep)
    assert code == 0, output
    assert "Traceback" not in output
    assert third.process.is_running()
    rows = pd.read_parquet(store.root / "metrics").to_dict("records")
    assert len(rows) == EPOCHS * SEEDS
    seconds = {(row["trial_id"], row["epoch"]): float(row["seconds"]) for row in rows}
    resumed = 0
    for trial_id, epoch in before.items():
        text = store.get(layout.log(trial_id)).decode()
        for found in re.findall(r"resumes after epoch (\d+)", text):
            lost = [seconds[trial_id, e] for e in range(int(found) + 1, epoch + 1)]
            # What was trained anew took less than an interval, but for the epoch that ended it.
            assert sum(lost[:-1]) <= float(OPTIONS[-1]), (trial_id, found, epoch)
            resumed += 1
    print(f"{resumed} trials resumed")


def reached(store: LocalStore) -> dict[str, int]:
    """The newest epoch of each trial that is being trained."""
    held, newest = store.leases.held(), dict[str, int]()
    for row in pd.read_parquet(store.root / "metrics").to_dict("records"):
        if (name := row["trial_id"]) in held:
            newest[name] = max(newest.get(name, 0), row["epoch"])
    return newest


PLACED = """
import json, sys
import ray
from ray.util.placement_group import placement_group
from orchestrator.execution.cluster import count_slots
from orchestrator.execution.launch import item_takes
from orchestrator.execution.preflight import Options

ray.init(sys.argv[1], log_to_driver=False)
found = {}
for share in (2, 1, 0.5, 0.3, 0.125):
    takes = item_takes(Options(gpus_per_trial=share), surface=False)
    room = count_slots(takes)
    groups = [placement_group([takes], strategy="PACK") for _ in range(room + 1)]
    placed = sum(group.wait(20 if number < room else 2) for number, group in enumerate(groups))
    for group in groups:
        ray.util.remove_placement_group(group)
    found[str(share)] = room, placed
print(json.dumps(found))
"""


def test_shares_of_unlike_gpus_are_counted_as_ray_places_them(cluster: Cluster):
    cluster.join("--num-gpus=1", cpus=9)
    cluster.join("--num-gpus=3", cpus=16)
    cluster.join(cpus=4)
    done = subprocess.run(
        [sys.executable, "-c", PLACED, cluster.address],
        capture_output=True,
        text=True,
        env=cluster.environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for share, (room, placed) in found.items():
        assert room == placed, share
    per_gpu = {share: math.floor(1 / float(share)) for share in found if float(share) <= 1}
    expected = {s: min(9, n) + min(16, 3 * n) for s, n in per_gpu.items()} | {"2": 1}
    assert {share: room for share, (room, _) in found.items()} == expected


ASKED = """
import json, sys, time
import ray
from ray.autoscaler._private.constants import AUTOSCALER_RESOURCE_REQUEST_CHANNEL
from ray.experimental.internal_kv import _internal_kv_get

ray.init(sys.argv[1], log_to_driver=False)
end = time.monotonic() + 120
while True:
    asked = json.loads(_internal_kv_get(AUTOSCALER_RESOURCE_REQUEST_CHANNEL) or "null")
    nodes = sum(node["Alive"] for node in ray.nodes())
    if nodes >= int(sys.argv[2]) or time.monotonic() > end:
        break
    time.sleep(0.2)
print(json.dumps([asked, nodes]))
"""


def asked_for(cluster: Cluster, nodes: int) -> tuple[list[dict[str, int]] | None, int]:
    """What an autoscaler is asked for once there are so many nodes, and how many there are."""
    done = subprocess.run(
        [sys.executable, "-c", ASKED, cluster.address, str(nodes)],
        capture_output=True,
        text=True,
        env=cluster.environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    asked, found = json.loads(done.stdout.splitlines()[-1])
    return asked, found


def test_an_autoscaler_is_asked_for_all_that_is_left_and_for_nothing_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    seeds = ", ".join(map(str, range(SEEDS)))
    experiment = write_experiment(tmp_path, epochs=600, seeds=seeds)
    store = open_store(tmp_path / "results")
    command = ("launch", experiment, *OPTIONS, "--store", store.root)
    with cluster_of_nodes(1, grows_by=2) as cluster:
        address = ("--address", cluster.address)
        with started(*command, *address, **cluster.environment) as sweep:
            wait_for(lambda: foreign(store))
            assert asked_for(cluster, 3) == (SEEDS * [{"CPU": 1}], 3)
            wait_for(lambda: len(foreign(store)) == 3)
            sweep.send_signal(signal.SIGINT)
            code, output = finish(sweep)
        assert code == 130, output
        assert asked_for(cluster, 0)[0] == []
