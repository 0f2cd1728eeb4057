"""Nodes of a real cluster: with other code, too late, gone again, and with unlike GPUs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from disturbing import OPTIONS, foreign, held_open
from ray_nodes import Cluster, cluster_of_nodes
from small_programs import WALK
from sweeps import finish, launch, started, trained_epochs, wait_for, write_experiment

from orchestrator.execution.jobs import pack_code
from orchestrator.execution.trainable import code_digest, own_versions
from results_schema import layout
from results_schema.results import Results
from results_schema.store import LocalStore, open_store
from workers.origin import code_origin

pytestmark = [pytest.mark.timeout(1200), pytest.mark.long, pytest.mark.cluster]

EPOCHS, SEEDS = 12, 8


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    # Ray lets workers import from the folder of their driver, which must not be this code's.
    monkeypatch.chdir(tmp_path)
    with cluster_of_nodes() as cluster:
        yield cluster


def untouched(store: LocalStore) -> bool:
    """Whether no trial has failed, begun or ended."""
    folders = layout.FAILURES, layout.CHECKPOINTS, layout.LEASES, layout.TRIALS
    return not any(layout.names(store.list(folder)) for folder in folders)


def test_nodes_that_run_something_else_are_refused(cluster: Cluster, tmp_path: Path):
    experiment, store = write_experiment(tmp_path, epochs=2), open_store(tmp_path / "results")
    command = (experiment, "--address", cluster.address, "--store", store.root)
    other, empty = tmp_path / "other", tmp_path / "empty"
    pack_code(other)
    with (other / "workers/draws.py").open("a") as code:
        code.write("# another\n")
    (empty / "orchestrator").mkdir(parents=True)
    # As if it were not there: what is installed beside would be found otherwise.
    text = "raise ModuleNotFoundError(f'No module named {__name__!r}')"
    (empty / "orchestrator/__init__.py").write_text(text)
    for folder, told in ((empty, "it can't load nas-sweep: ModuleNotFoundError"), (other, "code ")):
        node = cluster.join(cpus=2, PYTHONPATH=str(folder))
        code, output = launch(*command, **cluster.environment)
        assert code == 3, output
        assert re.search(f"^stopped: .*node.*: .*{told}", output, re.MULTILINE), output
        assert "--ship-code" in output
        assert not re.search("Traceback|failed", output)
        assert untouched(store)
        if folder == empty:
            cluster.kill(node)
    assert {own_versions()["code"], code_digest(other)} <= set(
        re.findall("code ([0-9a-f]+)", output)
    )
    code, output = launch(*command, "--ship-code", **cluster.environment)
    assert code == 0, output
    commits = set(Results(store).trials()["commit"].fillna(""))
    assert commits == {code_origin()["commit"] or ""}


OPERATION = """
title: An operation of my own
claim: None, this is a test.
plugins: [my_ops.py]
grid:
  genotype:
    - name: mine
      normal: {nodes: [[[mix_conv, 0], [skip_connect, 1]]], concat: [2]}
      reduce: {nodes: [[[mix_conv, 0], [skip_connect, 1]]], concat: [2]}
  dataset: [digits]
network: {cells: 3, channels: 2}
recipe: {epochs: 1}
"""
MIX_CONV = """
import nas_sweep
from torch import nn

@nas_sweep.operation("mix_conv", version=1)
def mix_conv(channels, stride, affine):
    return nn.Conv2d(channels, channels, 3, stride, 1, groups=2, bias=False)
"""
PROGRAM = """
title: A function of my own
claim: None, this is a test.
program: walk.py:train
version: 1
grid: {seed: [0, 1]}
params: {epochs: 2, size: 1.0}
metrics: {score: {goal: max}, steps: {type: whole}}
"""


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root")
@pytest.mark.parametrize(
    ("text", "file", "code"),
    [(OPERATION, "my_ops.py", MIX_CONV), (PROGRAM, "walk.py", WALK)],
    ids=["plug-in", "program"],
)
def test_a_file_that_a_node_lacks_goes_along_with_the_code(
    cluster: Cluster, tmp_path: Path, text: str, file: str, code: str
):
    study, store = tmp_path / "study", open_store(tmp_path / "results")
    study.mkdir()
    (study / "own.yaml").write_text(text)
    (study / file).write_text(code)
    command = (study / "own.yaml", "--address", cluster.address, "--store", store.root)
    cluster.join(cpus=2, lacking=study)
    status, output = launch(*command, **cluster.environment)
    assert status == 3, output
    assert re.search("^stopped: .*node.*there is no (plug-in|program)", output, re.MULTILINE), (
        output
    )
    assert "--ship-code" in output
    assert untouched(store)
    status, output = launch(*command, "--ship-code", **cluster.environment)
    assert status == 0, output
    assert set(Results(store).trials("own")["status"]) == {"done"}


def reached(store: LocalStore) -> dict[str, int]:
    """The newest epoch of each trial that is being trained."""
    rows: Any = pd.read_parquet(store.root / "metrics")
    newest = rows.groupby("trial_id")["epoch"].max().to_dict()
    return {name: epoch for name, epoch in newest.items() if name in store.leases.held()}


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
            wait_for(lambda: len(foreign(store)) >= 2 and trained_epochs(store) > EPOCHS)
            before = reached(store)
            cluster.kill(first)
            cluster.kill(second)
            third = cluster.join(cpus=2)
        code, output = finish(sweep)
    assert (code, "Traceback" in output) == (0, False), output
    assert third.process.is_running()
    rows: Any = pd.read_parquet(store.root / "metrics")
    assert len(rows) == EPOCHS * SEEDS
    seconds = rows.set_index(["trial_id", "epoch"])["seconds"].to_dict()
    for trial_id, epoch in before.items():
        text = store.get(layout.log(trial_id)).decode()
        for found in re.findall(r"resumes after epoch (\d+)", text):
            lost = [seconds[trial_id, e] for e in range(int(found) + 1, epoch + 1)]
            # What was trained again took less than an interval, but for the epoch that ended it.
            assert sum(lost[:-1]) <= float(OPTIONS[-1]), (trial_id, found, epoch)


def answer(cluster: Cluster, script: str, *arguments: str) -> Any:
    """What a script prints as JSON that joins the cluster."""
    command = [sys.executable, "-c", script, cluster.address, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, env=cluster.environment, timeout=200
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


PLACED = """
import json, sys, ray
from ray.util.placement_group import placement_group
from orchestrator.execution.cluster import count_slots

ray.init(sys.argv[1], log_to_driver=False)
found = []
for share in (2, 1, 0.5, 0.3, 0.125):
    takes = {"CPU": 1.0, "GPU": share}
    slots = count_slots(takes)
    groups = [placement_group([takes], strategy="PACK") for _ in range(slots + 1)]
    placed = sum(group.wait(20 if number < slots else 2) for number, group in enumerate(groups))
    for group in groups:
        ray.util.remove_placement_group(group)
    found.append((share, slots, placed))
print(json.dumps(found))
"""


def test_shares_of_unlike_gpus_are_counted_as_ray_places_them(cluster: Cluster):
    cluster.join("--num-gpus=1", cpus=9)
    cluster.join("--num-gpus=3", cpus=16)
    cluster.join(cpus=4)
    for share, slots, placed in answer(cluster, PLACED):
        assert 0 < slots == placed, share
