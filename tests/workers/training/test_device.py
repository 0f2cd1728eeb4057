import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from small_trials import small_spec

from results_schema.errors import MachineError
from results_schema.store import LocalStore
from workers.training import device

ROOT = Path(__file__).parents[3]
TRAIN = """
import sys
from results_schema.store import open_store
from results_schema.trial import TrialSpec
from workers.training.trial import train
outcome = train(TrialSpec.from_json(sys.argv[1]), open_store(sys.argv[2]), device="cpu")
print(outcome.status, *sys.modules)
"""


def test_the_processor_is_used_where_there_is_no_gpu():
    assert device.choose().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_trial_on_the_processor_has_one_thread():
    """Two threads would give other bits."""
    torch.set_num_threads(2)
    assert device.choose("cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 1


def test_streams_have_queues_of_their_own_before_cuda_starts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("CUDA_DEVICE_MAX_CONNECTIONS", raising=False)
    device.choose("cpu")
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "32"
    monkeypatch.setenv("CUDA_DEVICE_MAX_CONNECTIONS", "8")
    device.choose("cpu")
    assert os.environ["CUDA_DEVICE_MAX_CONNECTIONS"] == "8", "what a user has set"


def test_no_new_tensor_is_filled():
    """As torch's deterministic mode would, at hundreds of kernels a step."""
    switches: Any = torch.utils.deterministic
    switches.fill_uninitialized_memory = True
    device.choose("cpu")
    assert not switches.fill_uninitialized_memory


def test_a_trial_is_trained_without_torchs_compiler(store: LocalStore):
    """Its import takes seconds, in each of a launch's processes."""
    spec = small_spec(epochs=1)
    command = [sys.executable, "-c", TRAIN, spec.to_json(), store.location]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    status, *modules = done.stdout.split()
    assert status == "done"
    assert not {"torch._dynamo", "torch._inductor", "sympy"} & set(modules)


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


def test_a_gpu_that_is_not_there_is_said():
    with pytest.raises(MachineError, match=r"no CUDA GPU is visible|there is no cuda:99"):
        device.choose("cuda:99")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_tf32_is_off_on_a_gpu():
    device.choose("cuda")
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_memory_in_use_is_in_bytes():
    peak = device.peak_memory(torch.device("cpu"))
    assert psutil.Process().memory_info().rss / 2 < peak < psutil.virtual_memory().total


def test_memory_in_use_is_in_bytes_on_macos_too(monkeypatch):
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    monkeypatch.setattr(sys, "platform", "darwin")
    assert used <= device.peak_memory(torch.device("cpu")) < 2 * used + 2**20
