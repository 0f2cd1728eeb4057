"""The doctor finds what is wrong, says how to mend it, and leaves everything as it was."""

import json
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch
from small_stores import contents

from orchestrator.execution import checks, store_checks

MODULE = """NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 UTC 2023
GCC version:  gcc version 12.2.0
"""


@pytest.fixture
def local(monkeypatch, tmp_path):
    """Data sets that need no network, and a data folder of its own."""
    monkeypatch.setattr("orchestrator.execution.doctor.DATASETS", ["digits", "synthetic"])
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
    monkeypatch.setattr(checks, "check_ray", lambda: checks.Check("ray", "ok", ""))
    (tmp_path / "file").write_text("in the way")
    code, output, _ = run("doctor", "--store", tmp_path / "file/below", "--format", "json")
    assert code == 3
    [bad] = [check for check in json.loads(output) if check["verdict"] == "bad"]
    assert bad["name"] == "store"
    assert "is no folder" in bad["found"]
    assert bad["fix"]


def test_cores_are_counted_where_the_system_has_no_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert f"{os.cpu_count()} cores" in checks.check_memory().found


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path):
    assert store_checks.check_store(tmp_path / "a/b").verdict == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_clock_that_is_off_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(
        "orchestrator.execution.store_checks.time.time", lambda: tmp_path.stat().st_mtime - 90
    )
    found = store_checks.check_store(tmp_path)
    assert found.verdict == "bad"
    assert "+90 s" in found.found


def test_a_clock_that_was_never_set_is_noticed(monkeypatch):
    assert checks.check_clock().verdict == "ok"
    monkeypatch.setattr("time.gmtime", lambda: time.struct_time(9 * [0]))
    assert checks.check_clock().verdict == "bad"


def test_a_folder_of_ray_that_every_user_can_write_is_noticed(monkeypatch):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are closed to others further up
        shared = Path(folder)
        monkeypatch.setenv("RAY_TMPDIR", folder)
        assert checks.check_ray_folder().verdict == "ok", "no node has been started"
        (shared / "ray").mkdir()
        (shared / "ray").chmod(0o777)  # as Ray leaves it
        shared.chmod(0o755)
        found = checks.check_ray_folder()
        assert (found.verdict, "RAY_TMPDIR" in found.fix) == ("note", True)
        assert str(shared / "ray") in found.found
        shared.chmod(0o700)
        assert checks.check_ray_folder().verdict == "ok"


def test_less_room_than_is_needed_is_told_with_both_amounts(tmp_path):
    found = store_checks.check_store(tmp_path, room=10**18)
    assert found.verdict == "bad"
    assert "1000000.0 TB may be needed" in found.found


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_store_is_noticed(tmp_path):
    tmp_path.chmod(0o500)
    assert store_checks.check_store(tmp_path).verdict == "bad"
    tmp_path.chmod(0o700)


def test_missing_and_old_packages_are_named(monkeypatch):
    asked = ["numpy>=1.26", "ray[default,tune]>=9999", "no-such-thing>=1", "pytest; extra == 'x'"]
    monkeypatch.setattr("orchestrator.execution.checks.metadata.requires", lambda _: asked)
    found = checks.check_packages()
    assert found.verdict == "bad"
    assert "no-such-thing is missing" in found.found
    assert f"ray is {metadata.version('ray')}, not >=9999" in found.found
    assert "numpy" not in found.found
    assert "pytest" not in found.found


def test_a_ray_that_does_not_import_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray/__init__.py").write_text("raise ImportError('libfoo.so is missing')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = checks.check_ray()
    assert found.verdict == "bad"
    assert "libfoo.so is missing" in found.found
    (tmp_path / "ray/__init__.py").write_text("__version__ = '2.9.3'")
    (tmp_path / "ray/tune.py").touch()
    assert (checks.check_ray().verdict, checks.check_ray().found) == ("bad", "2.9.3")


def test_a_missing_browser_is_no_failure(monkeypatch, tmp_path):
    monkeypatch.setenv("BROWSER_PATH", str(tmp_path / "nothing"))
    found = checks.check_browser()
    assert found.verdict == "note"
    assert found.fix


def test_a_gpu_that_torch_cannot_use_is_told_from_no_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(checks, "DRIVER", tmp_path / "version")
    assert checks.check_gpu().verdict == "note"
    checks.DRIVER.write_text(MODULE)
    found = checks.check_gpu()
    assert found.verdict == "bad"
    assert "driver 535.54.03" in found.found
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert checks.check_gpu().verdict == "note"


def test_a_data_set_that_cannot_be_had_is_a_note(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NAS_SWEEP_DATA", str(tmp_path / "file"))
    found = checks.check_data("cifar10")
    assert found.verdict == "note"
    assert "NAS_SWEEP_DATA" in found.fix
    assert checks.check_data("digits").verdict == "ok"
    assert checks.check_data("svhn").verdict == "bad"
