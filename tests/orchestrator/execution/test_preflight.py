"""What doctor finds, and what is refused before the first trial."""

import contextlib
import json
import os
import subprocess
import tempfile
import time
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest
import safetensors.torch
import torch
from small_stores import contents
from small_trials import small_spec

from orchestrator.config.experiment import load_experiment
from orchestrator.execution import preflight
from orchestrator.execution.preflight import Note, Options
from orchestrator.planning.plan import POINT_BYTES, checkpoint_bytes, make_plan
from results_schema.errors import DataError, MachineError, StoreError
from results_schema.store import open_store
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.network import build_network
from workers.training.engine import Engine

CPU = Options(device="cpu")
EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def plan_of(profile: str | None = "laptop"):
    return make_plan([load_experiment(EXPERIMENTS / "fig9.yaml", profile=profile)], None)


@pytest.mark.parametrize("name", ["DARTS", "NASNet", "AmoebaNet", "ENAS", "SNAS"])
@pytest.mark.parametrize("size", [NetworkSpec(3, 2), NetworkSpec(5, 4), NetworkSpec(8, 16)])
def test_a_checkpoint_is_no_larger_than_is_said_and_not_much_smaller(name, size):
    spec = replace(small_spec(genotype=named(name), epochs=1), network=size)
    network = build_network(spec.genotype, size, in_channels=1, classes=10, seed=0)
    state = Engine(network, spec.recipe).state()
    real = len(safetensors.torch.save(state))
    assert real <= checkpoint_bytes(spec) <= 2.5 * real
    kept = {name: each for name, each in state.items() if not name.startswith("momentum.")}
    ended = len(safetensors.torch.save(kept))
    assert ended < real
    assert ended <= checkpoint_bytes(spec, ended=True) <= 2.5 * ended


def test_kept_checkpoints_take_room_too():
    plan = plan_of()
    one, two = (plan.disk_bytes(kept=kept, side_by_side=2) for kept in ((), (1, 99)))
    every = sum(plan.checkpoint_sizes)
    ended = sum(checkpoint_bytes(spec, ended=True) for spec in plan.remaining)
    assert two - one == every, "of those two epochs only the first is before the last"
    assert ended < one < 2 * ended + 56 * 40_000


def test_a_launch_on_a_sound_machine_passes_and_leaves_the_store_as_it_was(tmp_path: Path):
    store = open_store(tmp_path / "results")
    before = sorted(store.root.rglob("*"))
    preflight.prepare(plan_of(), store, CPU)
    assert sorted(store.root.rglob("*")) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_told_before_ray_starts(tmp_path: Path):
    store = open_store(tmp_path / "results")
    with pytest.raises(MachineError, match="--device cuda: no CUDA GPU is visible"):
        preflight.prepare(plan_of(), store, Options(device="cuda"))
    preflight.prepare(plan_of(), store, Options(device="cuda", address="head:6379"))


def test_data_that_can_not_be_had_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path))
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is incomplete"):
        preflight.prepare(plan_of(None), open_store(tmp_path / "r"), CPU)


def test_a_wrong_clock_is_told(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("time.gmtime", lambda: time.struct_time(9 * [0]))
    with pytest.raises(MachineError, match="clock: it shows"):
        preflight.prepare(plan_of(), open_store(tmp_path / "r"), CPU)


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


MODULE = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023
GCC version:  gcc version 12.2.0
"""


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Data sets that need no network, and a data folder of its own."""
    monkeypatch.setattr("orchestrator.execution.preflight.DATASETS", ["digits", "synthetic"])
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "data"))


def test_a_sound_machine_passes_and_the_store_stays_as_it_was(run, trained, local):
    before = contents(trained.store)
    code, output, errors = run("doctor")
    assert code == 0, output + errors
    names = [line[6:].split(":")[0] for line in output.splitlines()]
    assert names == [
        *("python", "packages", "machine", "clock", "store", "browser", "ray", "ray folder", "gpu"),
        *("data digits", "data synthetic"),
    ]
    assert f"ray: {metadata.version('ray')}" in output
    assert contents(trained.store) == before
    assert not [path for path in trained.store.root.iterdir() if "doctor" in path.name]


def test_what_is_bad_exits_3_and_says_how_to_mend_it(run, tmp_path, local, monkeypatch):
    monkeypatch.setattr(preflight, "check_ray", lambda: "2.60")
    (tmp_path / "file").write_text("in the way")
    code, output, _ = run("doctor", "--store", tmp_path / "file/below", "--format", "json")
    assert code == 3
    [bad] = [check for check in json.loads(output) if check["verdict"] == "bad"]
    assert bad["name"] == "store"
    assert "is no folder" in bad["found"]
    assert bad["fix"]


def test_cores_are_counted_where_the_system_has_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert f"{os.cpu_count()} cores" in preflight.check_memory()


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    preflight.check_place(str(tmp_path / "a/b"), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_off_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.execution.preflight.time.time", lambda: tmp_path.stat().st_mtime - 90
    )
    with pytest.raises(StoreError, match=r"\+90 s"):
        preflight.check_place(str(tmp_path), 1)


def test_a_clock_that_was_never_set_is_noticed(monkeypatch):
    preflight.check_clock()
    monkeypatch.setattr("time.gmtime", lambda: time.struct_time(9 * [0]))
    with pytest.raises(MachineError, match="NTP"):
        preflight.check_clock()


def test_a_folder_of_ray_that_every_user_can_write_is_noted(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others further up
        shared = Path(folder)
        monkeypatch.setenv("RAY_TMPDIR", folder)
        assert preflight.check_ray_folder() == f"no node has used {folder}/ray"
        (shared / "ray").mkdir()
        shared.chmod(0o755)
        for mode, refused in ((0o777, True), (0o1777, False), (0o755, False)):
            (shared / "ray").chmod(mode)
            with pytest.raises(Note) if refused else contextlib.nullcontext() as raised:
                preflight.check_ray_folder()
            if raised:
                found, fix = raised.value.args
                assert (str(shared / "ray") in found, "RAY_TMPDIR" in fix) == (True, True)
        (shared / "ray").chmod(0o777)  # as Ray leaves it
        shared.chmod(0o700)
        assert "closed to other users" in preflight.check_ray_folder()


def test_less_room_than_is_needed_is_told_with_both_amounts(tmp_path):
    with pytest.raises(StoreError, match=r"1000000\.0 TB may be needed"):
        preflight.check_place(str(tmp_path), 10**18)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_noticed(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StoreError):
        preflight.check_place(str(tmp_path), 1)
    tmp_path.chmod(0o700)


def test_missing_and_old_packages_are_named(monkeypatch):
    asked = ["numpy>=1.26", "ray[default,tune]>=9999", "no-such-thing>=1", "pytest; extra == 'x'"]
    monkeypatch.setattr("orchestrator.execution.preflight.metadata.requires", lambda _: asked)
    with pytest.raises(MachineError) as raised:
        preflight.check_packages()
    old = f"ray is {metadata.version('ray')}, not >=9999"
    assert raised.value.what == f"{old}, no-such-thing is missing"
    monkeypatch.setattr("orchestrator.execution.preflight.metadata.requires", lambda _: asked[:1])
    assert preflight.check_packages() == f"numpy {metadata.version('numpy')}"


def test_a_ray_that_does_not_import_or_is_old_is_bad(tmp_path, monkeypatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/__init__.py").write_text("raise ImportError('libfoo.so is missing')")
    (tmp_path / "ray/tune.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(MachineError, match="libfoo"):
        preflight.check_ray()
    (tmp_path / "ray/__init__.py").write_text("__version__ = '2.9.3'")
    with pytest.raises(MachineError, match=r"2\.9\.3\n.*pip install"):
        preflight.check_ray()
    (tmp_path / "ray/__init__.py").write_text("__version__ = '2.55.0'")
    assert preflight.check_ray() == "2.55.0"


def test_a_missing_browser_is_a_note(monkeypatch, tmp_path):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    with pytest.raises(Note) as raised:
        preflight.check_browser()
    assert all(raised.value.args)


def test_a_gpu_that_torch_cannot_use_is_bad_and_no_gpu_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(preflight, "DRIVER", tmp_path / "version")
    with pytest.raises(Note):
        preflight.check_gpu()
    preflight.DRIVER.write_text(MODULE)
    with pytest.raises(MachineError, match=r"driver 535\.54\.03"):
        preflight.check_gpu()
    for hidden in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
        with pytest.raises(Note):
            preflight.check_gpu()


def test_a_dataset_that_can_not_be_downloaded_is_a_note(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "file"))
    with pytest.raises(Note) as raised:
        preflight.check_data("cifar10")
    assert "NAS_SWEEP_DATA" in raised.value.args[1]
    assert preflight.check_data("digits") == "ready, or available"
    with pytest.raises(MachineError):
        preflight.check_data("svhn")
