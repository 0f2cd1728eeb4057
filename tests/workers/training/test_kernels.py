import pytest
import torch
from small_trials import TRAIN, small_spec

from workers.data.images import load
from workers.network.convolution import Convolution
from workers.network.network import build_network
from workers.training.kernels import choose_kernels, planned_steps


def chosen_on(device: str, epochs: int) -> tuple[list[str], bool]:
    """What was said, and whether every convolution was left to torch."""
    spec = small_spec(epochs=epochs)
    data = load("digits", torch.device(device))
    network = build_network(spec.genotype, spec.network, in_channels=1, classes=10, seed=0)
    said: list[str] = []
    choose_kernels(network.to(device), spec, data, said.append)
    modules = [module for module in network.modules() if isinstance(module, Convolution)]
    return said, all(module.ways is None for module in modules)


def test_on_a_cpu_nothing_is_chosen_and_nothing_said():
    assert chosen_on("cpu", epochs=100_000) == ([], True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("epochs", "says"), [(1, "too few"), (100_000, "shapes timed")])
def test_on_a_gpu_a_long_trial_is_tuned_and_says_so_in_one_line(epochs: int, says: str):
    [line], _ = chosen_on("cuda", epochs)
    assert says in line and "\n" not in line


def test_steps_count_the_last_batch_of_each_epoch():
    data = load("digits", torch.device("cpu"))
    assert len(data.train) == TRAIN == 160
    assert planned_steps(small_spec(epochs=3, batch_size=80), data) == 6
    assert planned_steps(small_spec(epochs=3, batch_size=79), data) == 9
    assert planned_steps(small_spec(epochs=3, batch_size=1000), data) == 3
