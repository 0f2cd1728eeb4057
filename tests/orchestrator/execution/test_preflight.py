"""What doctor finds, and what is refused before the first trial."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch
from small_stores import contents

from orchestrator.config.experiment import load_experiment
from orchestrator.execution import preflight
from orchestrator.execution.preflight import Note, Options, choose_device, prepare
from orchestrator.planning.estimate import Speeds
from orchestrator.planning.plan import make_plan
from results_schema.errors import DataError, MachineError, StoreError
from results_schema.folder.store import FolderLeases
from results_schema.store import LocalStore
from workers.data.catalog import DATASETS

CPU = Options(device="cpu")
EXPERIMENTS = Path(__file__).parents[3] / "experiments"
MODULE = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023
GCC version:  gcc version 12.2.0
"""


def plan_of(profile: str | None = "laptop", **overrides: str):
    experiment = EXPERIMENTS / "fig9.yaml"
    changes = [f"{name}={value}" for name, value in overrides.items()]
    return make_plan([load_experiment(experiment, profile=profile, overrides=changes)], None)


@pytest.mark.parametrize(
    ("options", "gpus", "device"),
    [
        (CPU, 1, "cpu"),
        (Options(), 1, "cuda"),
        (Options(cpu_suffices=True), 0, "cpu"),
        (Options(device="cuda"), 2, "cuda"),
        (Options(address="head:6379"), 0, None),
        (Options(address="head:6379", device="cuda"), 0, "cuda"),
    ],
)
def test_a_launch_on_a_sound_machine_passes_and_leaves_the_store_as_it_was(
    store, monkeypatch, options, gpus, device
):
    monkeypatch.setattr(preflight, "local_gpus", lambda: gpus)
    before = sorted(store.root.rglob("*"))
    prepared = prepare(plan_of(), store, options)
    assert (prepared.device, prepared.address) == (device, options.address)
    assert sorted(store.root.rglob("*")) == before


def test_without_a_gpu_a_cpu_is_taken_only_where_it_suffices_or_is_named(store, monkeypatch):
    monkeypatch.setattr(preflight, "local_gpus", lambda: 0)
    with pytest.raises(MachineError, match="--device cuda: no CUDA GPU is visible"):
        prepare(plan_of(), store, Options(device="cuda"))
    with pytest.raises(MachineError, match=r"years on .* CPU core.*\n.*--profile laptop"):
        choose_device(plan_of(None), Options(), Speeds(), has_gpu=False)
    short = plan_of(**{"recipe.epochs": "1", "grid.variants": "none"})
    assert choose_device(short, Options(), Speeds(), has_gpu=False) == "cpu"
    tf32 = plan_of(precision="tf32")
    with pytest.raises(MachineError, match="precision=fp32"):
        choose_device(tf32, CPU, Speeds(), has_gpu=True)
    assert choose_device(tf32, Options(), Speeds(), has_gpu=True) == "cuda"


def test_data_is_looked_for_on_this_machine_alone(store, tmp_path, monkeypatch):
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path))
    archive = DATASETS["cifar10"].archive
    assert archive is not None
    (tmp_path / archive.file).write_bytes(b"no archive")
    with pytest.raises(DataError, match="is incomplete"):
        prepare(plan_of(None), store, CPU)
    prepare(plan_of(None), store, Options(device="cpu", address="head:6379"))


@pytest.mark.parametrize(
    ("share", "pack", "gpus", "expected"),
    [
        ("auto", 8, 0, 16),
        (0.25, 3, 2, 24),
        ("auto", 3, 2, 6),
        ("auto", None, 2, 32),
        (2.0, None, 1, 1),
        (0.01, None, 8, 16),
    ],
)
def test_trials_at_once_are_counted(monkeypatch, share, pack, gpus, expected):
    monkeypatch.setattr(preflight, "cores", lambda: 16)
    options = Options(gpus_per_trial=share, pack=pack)
    assert preflight.trials_at_once(options, gpus) == expected
    assert options.share == (1.0 if share == "auto" else share)


def test_a_store_without_space_is_refused_with_what_it_needs(store, monkeypatch):
    plan, asked = plan_of(), []
    monkeypatch.setattr(preflight, "check_place", lambda *given: asked.append(given))
    monkeypatch.setattr(preflight, "cores", lambda: 3)
    prepare(plan, store, Options(device="cpu", checkpoint_at=(1,)))
    assert asked == [(store.location, plan.disk_bytes(kept=(1,), side_by_side=3))]


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Datasets that need no network, and a data folder of its own."""
    few = {name: DATASETS[name] for name in ("digits", "synthetic")}
    monkeypatch.setattr("orchestrator.execution.preflight.DATASETS", few)
    monkeypatch.setattr(preflight, "check_ray", lambda: "2.60")
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "data"))


@pytest.mark.usefixtures("local")
def test_a_sound_machine_passes_and_the_store_stays_as_it_was(run, store):
    before = contents(store)
    code, output, errors = run("doctor", "--store", store.root)
    assert code == 0, output + errors
    names = [line[6:].split(":")[0] for line in output.splitlines()]
    assert names == [
        *("python", "packages", "machine", "clock", "store", "tables", "browser", "ray"),
        *("ray folder", "gpu", "data digits", "data synthetic"),
    ]
    assert "ray: 2.60" in output
    assert contents(store) == before


@pytest.mark.usefixtures("local")
def test_what_is_bad_exits_3_with_a_fix(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    code, output, _ = run("doctor", "--store", tmp_path / "file/below", "--format", "json")
    found = {check["name"]: check for check in json.loads(output)}
    assert code == 3
    assert {name for name, check in found.items() if check["verdict"] == "bad"} == {"store"}
    assert found["store"]["found"] == f"{tmp_path}/file: it is no folder"
    assert found["store"]["fix"]
    assert [*found["ray"].values()] == ["ray", "ok", "2.60", ""]


def test_cores_are_counted_where_the_system_has_no_affinity_and_memory_is_noted(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert f"{os.cpu_count()} cores" in preflight.check_memory()
    monkeypatch.setattr(preflight, "FREE", 10**18)
    with pytest.raises(Note):
        preflight.check_memory()


def test_a_place_is_tried_and_left_as_it_was(tmp_path, monkeypatch):
    assert f"{tmp_path} can be written" in preflight.check_place(str(tmp_path / "a/b"), 1)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match=r"free, and 1000000\.0 TB may be needed\n.*gc"):
        preflight.check_place(str(tmp_path), 10**18)
    for skew in (-90, 90):
        with monkeypatch.context() as patch, pytest.raises(StoreError, match=rf"\{-skew:+} s"):
            there = tmp_path.stat().st_mtime + skew
            patch.setattr(preflight.time, "time", lambda there=there: there)
            preflight.check_place(str(tmp_path), 1)
    take = FolderLeases.take
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="two workers"):
        any_name = lambda self, item: take(self, f"{item}-{os.urandom(4).hex()}")  # noqa: E731
        patch.setattr(FolderLeases, "take", any_name)
        preflight.check_place(str(tmp_path), 1)
    with monkeypatch.context() as patch, pytest.raises(StoreError, match="does not give back"):
        patch.setattr(LocalStore, "get", lambda *_: b"old")
        preflight.check_place(str(tmp_path), 1)
    assert list(tmp_path.iterdir()) == []


def test_a_read_only_store_is_noticed(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(LocalStore, "put", fail)
    with pytest.raises(StoreError, match=f"{tmp_path}: Read-only file system\n  .*--store"):
        preflight.check_place(str(tmp_path), 1)


def test_a_clock_that_was_never_set_is_noticed(store, monkeypatch):
    for year, bad in ((2025, True), (2026, False), (2100, False), (2101, True)):
        monkeypatch.setattr("time.gmtime", lambda year=year: time.struct_time([year, *[1] * 8]))
        with pytest.raises(MachineError, match="NTP") if bad else contextlib.nullcontext():
            assert preflight.check_clock().startswith(f"it shows {year}-01-01 ")
    with pytest.raises(MachineError, match="clock: it shows"):
        prepare(plan_of(), store, CPU)


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
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")  # versions of one length follow each other
    with pytest.raises(MachineError, match="libfoo"):
        preflight.check_ray()
    (tmp_path / "ray/__init__.py").write_text("__version__ = '2.54.9'")
    with pytest.raises(MachineError, match=r"2\.54\.9\n.*pip install"):
        preflight.check_ray()
    (tmp_path / "ray/__init__.py").write_text("__version__ = '2.55.0'")
    assert preflight.check_ray() == "2.55.0"
    monkeypatch.setattr(preflight.sys, "executable", str(tmp_path / "gone"))
    with pytest.raises(MachineError, match="gone"):
        preflight.check_ray()


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
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: f"H{number}")
    assert preflight.check_gpu().startswith("H0, H1; torch ")
    monkeypatch.setattr(preflight, "GPU_DEVICES", (tmp_path,))
    assert preflight.local_gpus() == 2
    monkeypatch.setattr(preflight, "GPU_DEVICES", (tmp_path / "nvidiactl",))
    assert preflight.local_gpus() == 0


def test_a_dataset_that_can_not_be_downloaded_is_a_note(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "file"))
    with pytest.raises(Note) as raised:
        preflight.check_data("cifar10")
    assert "NAS_SWEEP_DATA" in raised.value.args[1]
    assert preflight.check_data("digits") == "ready, or available"


def test_a_dataset_of_a_package_that_can_not_be_read_is_bad(monkeypatch):
    def fail(_: object) -> None:
        raise DataError("no such file", fix="install it")

    monkeypatch.setattr(preflight, "check_ready", fail)
    with pytest.raises(MachineError, match="no such file\n  install it"):
        preflight.check_data("digits")
