"""What is refused before the first trial, and how much room a plan is said to take."""

import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_trials import small_spec

from orchestrator.config.experiment import load_experiment
from orchestrator.execution import preflight
from orchestrator.planning.plan import POINT_BYTES, checkpoint_bytes, make_plan
from results_schema.errors import DataError, MachineError, StoreError
from results_schema.store import open_store
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.data.cifar import CIFAR10
from workers.network.network import build_network
from workers.training.engine import Engine

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def plan_of(profile: str | None = "laptop"):
    return make_plan([load_experiment(EXPERIMENTS / "fig9.yaml", profile=profile)], None)


@pytest.mark.parametrize("name", ["DARTS", "NASNet", "AmoebaNet", "ENAS", "SNAS"])
@pytest.mark.parametrize("size", [NetworkSpec(3, 2), NetworkSpec(5, 4), NetworkSpec(8, 16)])
def test_a_checkpoint_is_no_larger_than_is_said_and_not_much_smaller(name, size):
    spec = replace(small_spec(genotype=named(name), epochs=1), network=size)
    network = build_network(spec.genotype, size, in_channels=1, classes=10, seed=0)
    real = len(safetensors.torch.save(Engine(network, spec.recipe).state()))
    assert real <= checkpoint_bytes(spec) <= 2.5 * real


def test_kept_checkpoints_take_room_too():
    plan = plan_of()
    one, two = (plan.disk_bytes(kept=kept, side_by_side=2) for kept in ((), (1, 99)))
    every = sum(plan.checkpoint_sizes)
    assert two - one == every, "of those two epochs only the first is before the last"
    assert every < one < 2 * every + 56 * 40_000


def test_a_sound_machine_passes_and_the_store_stays_as_it_was(tmp_path: Path):
    store = open_store(tmp_path / "results")
    before = sorted(store.root.rglob("*"))
    preflight.check(plan_of(), store, device="cpu", address=None)
    assert sorted(store.root.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_before_ray_starts(tmp_path: Path):
    store = open_store(tmp_path / "results")
    with pytest.raises(MachineError, match="--device cuda: no CUDA GPU is visible"):
        preflight.check(plan_of(), store, device="cuda", address=None)
    preflight.check(plan_of(), store, device="cuda", address="head:6379")


def test_data_that_can_not_be_had_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path))
    (tmp_path / CIFAR10.file).write_bytes(b"no archive")
    with pytest.raises(DataError, match="is incomplete"):
        preflight.check(plan_of(None), open_store(tmp_path / "r"), device="cpu", address=None)


def test_a_wrong_clock_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("time.gmtime", lambda: time.struct_time(9 * [0]))
    with pytest.raises(MachineError, match="clock: it says"):
        preflight.check(plan_of(), open_store(tmp_path / "r"), device="cpu", address=None)


def test_a_store_without_room_is_told_with_what_it_needs(tmp_path: Path, run):
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1000000", "none", str(folder)]
    if subprocess.run(command, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        experiment = EXPERIMENTS / "fig9.yaml"
        code, output, errors = run(
            "launch", experiment, "--profile", "laptop", "--device", "cpu", "--store", folder / "r"
        )
        assert code == StoreError.exit_code
        assert "free, and " in errors
        assert "nas-sweep gc" in errors
        assert "Ray" not in output
        assert not list((folder / "r/members").glob("fig9*"))
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_plan_tells_the_disk_it_takes(run, tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    _, output, _ = run("plan", EXPERIMENTS / "fig9.yaml")
    assert "and up to 1." in output
    assert "GB of disk" in output


def test_room_for_the_vectors_of_running_curvatures_is_asked_for(tmp_path: Path):
    path = tmp_path / "x.yaml"
    path.write_text(
        "title: x\nclaim: x\ngrid: {genotype: [DARTS], dataset: [cifar10], seed: [0, 1, 2]}\n"
        "landscape: {curvature: {}}\n"
    )
    plan = make_plan([load_experiment(path)], None)
    one, two = (
        plan.disk_bytes(kept=(), side_by_side=number)
        - replace(plan, measure=False).disk_bytes(kept=(), side_by_side=number)
        - POINT_BYTES * plan.points
        for number in (1, 2)
    )
    assert plan.points == 3 * 201
    assert two - one == one > 16 * 3_000_000
