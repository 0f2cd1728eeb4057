import pytest
import torch

from results_schema.errors import MachineError
from workers.training import device


def test_the_processor_is_used_where_there_is_no_gpu():
    assert device.choose().type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_a_trial_on_the_processor_has_one_thread():
    """Two threads would give other bits."""
    torch.set_num_threads(2)
    assert device.choose("cpu") == torch.device("cpu")
    assert torch.get_num_threads() == 1


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
    assert 50 * 2**20 < device.peak_memory(torch.device("cpu")) < 2**40
