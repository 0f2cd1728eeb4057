"""A contour is the loss of setting the weights and evaluating; its parts, one by one."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_landscapes import GENOTYPES, NOISY, instances, moved, network
from torch import nn

from workers.cells.bases import named
from workers.landscape.contour import Contour
from workers.landscape.instances import Instances
from workers.landscape.plane import FoldedNetwork, draw_directions
from workers.network.network import Network

F64 = torch.float64
POINTS = [(0.0, 0.0), (1.0, -0.5), (-0.25, 0.75)]


def contour(trained: Network, images, labels, *, batch: int = 500, **options: Any) -> Contour:
    directions = draw_directions(trained, seed=1)
    return Contour(trained, directions, Instances(images, labels, batch=batch, **options))


@pytest.mark.parametrize("name", ["AmoebaNet", "SNAS", "NASNet_ADAPT", "seven", "all"])
def test_it_equals_setting_the_weights_and_evaluating(name: str):
    images, labels = instances(7, 8)
    trained = network(GENOTYPES[name], auxiliary=name == "SNAS")
    measured = contour(trained, images, labels, dtype=F64, batch=4)
    for alpha, beta in POINTS[1:]:
        with torch.no_grad():
            logits = moved(trained, draw_directions(trained, seed=1), alpha, beta)(images)
        point = measured.at(alpha, beta)
        assert point["loss"] == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-10)
        assert point["accuracy"] == float((logits.argmax(1) == labels).double().mean())


def test_float32_is_close_to_float64_and_bfloat16_is_a_preview():
    images, labels = instances(10, 8)
    trained = network(named("DARTS"), cells=8, channels=4)
    double, single, half = (
        contour(trained, images, labels, dtype=dtype).at(*POINTS[2])["loss"]
        for dtype in (F64, torch.float32, torch.bfloat16)
    )
    assert single == pytest.approx(double, rel=1e-5)
    assert half == pytest.approx(double, rel=0.1)
    assert half != double


def test_points_depend_neither_on_their_order_nor_on_the_networks_later_life():
    images, labels = instances(5, 8)
    trained = network(NOISY)
    measured = contour(trained, images, labels, batch=2)
    first = [measured.at(*point) for point in POINTS]
    near = abs(first[0]["loss"] - measured.at(1e-6, 0)["loss"])
    with torch.no_grad():
        trained.classifier.weight.zero_()
    assert [measured.at(*point) for point in reversed(POINTS)] == first[::-1]
    assert 0 < near < 1e-4, "the same noise at every point"


def test_measuring_leaves_the_network_and_the_process_alone():
    images, labels = instances(3, 8)
    trained = network(NOISY).train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state = torch.get_rng_state()
    contour(trained, images, labels).at(0.5, 0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_a_loss_that_overflows_and_one_of_a_diverged_network_are_returned_as_they_are():
    trained = network(named("DARTS"))
    measured = contour(trained, *instances(4, 8))
    assert not math.isfinite(measured.at(1e15, 1e15)["loss"])
    assert math.isfinite(measured.at(0, 0)["loss"])
    with torch.no_grad():
        trained.get_parameter("stem.0.weight")[1] = math.inf
    assert not math.isfinite(contour(trained, *instances(4, 8)).at(*POINTS[1])["loss"])


def test_no_normalisation_is_left_to_run_and_maps_stay_channels_last():
    trained = network(GENOTYPES["all"], channels=4)
    folded = FoldedNetwork(trained, draw_directions(trained, 0)).move(0, 0)
    strided: list[bool] = []

    def ran(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert not isinstance(module, nn.BatchNorm2d)
        if isinstance(module, nn.Conv2d):
            strided.append(output.is_contiguous(memory_format=torch.channels_last))

    for module in folded.modules():
        module.register_forward_hook(ran)
    with torch.inference_mode():
        folded(torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last))
    assert len(strided) > 30
    assert all(strided)
