"""The device as it is set up, and the provenance that is recorded of it."""

import os
import resource
import sys
from collections.abc import Iterator
from importlib import metadata
from types import ModuleType
from typing import Any

import psutil
import pytest
import torch

from results_schema import tables
from results_schema.errors import MachineError
from workers.training import device

CPU = torch.device("cpu")


def test_a_trial_on_a_cpu_has_one_thread_and_no_new_tensor_is_filled():
    """Two threads would give other bits; torch's deterministic mode would fill each tensor."""
    switches: Any = torch.utils.deterministic
    switches.fill_uninitialized_memory = True
    torch.set_num_threads(2)
    assert device.choose("cpu") == CPU
    assert torch.get_num_threads() == 1
    assert not switches.fill_uninitialized_memory
    assert device.choose().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_streams_have_queues_of_their_own_before_cuda_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS", raising=False)
    device.choose("cpu")
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "8")
    device.choose("cpu")
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "8", "what a user has set"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("gpu", "unknown device 'gpu'"),
        ("cuda:x", "unknown device 'cuda:x'"),
        ("mps", "'mps' is not supported"),
        ("meta", "'meta' is not supported"),
    ],
)
def test_no_other_device_is_taken(name: str, says: str):
    with pytest.raises(MachineError, match=f"{says}\n  use cuda, cuda:N or cpu"):
        device.choose(name)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One GPU, as far as choosing it goes; what is switched for it is put back."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 0))
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    for name in ("benchmark", "deterministic", "allow_tf32"):
        monkeypatch.setattr(torch.backends.cudnn, name, getattr(torch.backends.cudnn, name))
    yield
    device.choose("cpu")
    device.precisions.set_tf32("fp32")


def test_a_gpu_is_taken_where_there_is_one_and_made_deterministic_if_asked(gpu: None):
    assert device.choose() == torch.device("cuda")
    assert torch.backends.cudnn.benchmark, "the fastest algorithm"
    assert not torch.are_deterministic_algorithms_enabled()
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ
    assert device.choose("cuda:0", deterministic=True, precision="tf32") == torch.device("cuda:0")
    assert not torch.backends.cudnn.benchmark
    assert torch.backends.cudnn.deterministic and torch.backends.cudnn.allow_tf32
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    device.choose("cuda")
    assert not torch.backends.cudnn.allow_tf32, "cuDNN's default would round"
    assert not torch.backends.cudnn.deterministic
    with pytest.raises(MachineError, match="there is no cuda:1\n  use cuda:0 to cuda:0"):
        device.choose("cuda:1")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_of_the_machine():
    with pytest.raises(MachineError, match="no CUDA GPU is visible\n  use --device cpu"):
        device.choose("cuda:99")


def test_memory_in_use_is_in_bytes(monkeypatch: pytest.MonkeyPatch):
    peak = device.peak_memory(CPU)
    assert psutil.Process().memory_info().rss / 2 < peak < psutil.virtual_memory().total
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "darwin")
    assert used <= device.peak_memory(CPU) < 2 * used + 2**20


def test_it_names_the_machine_and_the_versions():
    found = device.provenance(CPU)
    assert found["torch"] == torch.__version__
    assert found["python"] == sys.version.split()[0]
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == device.name(CPU) != ""
    assert set(found) < {field.name for field in tables.TRIALS}


@pytest.mark.parametrize("running", [True, False])
def test_rays_version_is_told_if_ray_is_there(monkeypatch: pytest.MonkeyPatch, running: bool):
    if running:
        monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    else:
        monkeypatch.delitem(sys.modules, "ray", raising=False)
    installed = {package.name: package.version for package in metadata.distributions()}
    assert device.provenance(CPU)["ray"] == (installed.get("ray") if running else None)
