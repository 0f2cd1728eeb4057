"""Landscapes of a torchvision ResNet, which is none of ours, against naive loops."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from small_landscapes import distances, instance_gradients, instances
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, TensorDataset
from torchvision.models.resnet import BasicBlock, ResNet

import nas_sweep
from results_schema.errors import DataError, SpecError
from workers.landscape.plane import draw_directions

F64 = torch.float64


@pytest.fixture(scope="module")
def resnet() -> nn.Module:
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    for name in ("layer3", "layer4"):  # most weights, and nothing new
        network.set_submodule(name, nn.Identity())
    network.fc = nn.Linear(128, 5)
    network(torch.randn(8, 3, 16, 16))  # statistics
    return network.double()  # in training mode, which is to be left alone


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    return instances(5, 16)


def at(network: nn.Module, alpha: float, beta: float) -> nn.Module:
    """A copy at a point of the plane of seed 3, in evaluation mode."""
    directions, copied = draw_directions(network, 3), copy.deepcopy(network).eval()
    with torch.no_grad():
        for name, weight in copied.named_parameters():
            weight += alpha * directions.first[name] + beta * directions.second[name]
    return copied


def test_a_contour_is_the_loss_at_each_point(resnet, data):
    found = nas_sweep.landscape.contour(
        resnet, data, rows=3, columns=1, extent=0.5, seed=3, dtype=F64, batch=2
    )
    assert found.alphas.tolist() == [-0.5, 0, 0.5]
    for row, alpha in enumerate(found.alphas):
        with torch.no_grad():
            logits = at(resnet, alpha, 0)(data[0])
        assert found.loss[row, 0] == pytest.approx(cross_entropy(logits, data[1]).item(), rel=1e-9)
        assert found.accuracy[row, 0] == (logits.argmax(1) == data[1]).double().mean().item()
    assert resnet.training


def test_a_variance_is_that_of_a_loop_over_instances(resnet, data):
    loader = DataLoader(TensorDataset(*data), batch_size=2)
    found = nas_sweep.landscape.gradient_variance(
        resnet, loader, alpha=0.2, beta=-0.1, seed=3, dtype=F64
    )
    gradients = instance_gradients(at(resnet, 0.2, -0.1), *data)
    apart = distances(gradients)
    assert found.variance == pytest.approx(apart.mean().item(), rel=1e-9)
    assert found.standard_error == pytest.approx(apart.std().item() / 5**0.5, rel=1e-9)
    assert found.by_parameter.keys() == gradients.keys()
    assert found.notes == {}


def test_a_curvature_is_that_of_the_whole_hessian():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).double()
    inputs, targets = torch.randn(6, 3, dtype=F64), torch.randn(6, 2, dtype=F64)
    weights = dict(network.named_parameters())

    def mean(flat: Tensor) -> Tensor:
        parts = flat.split([weight.numel() for weight in weights.values()])
        named = {n: p.view_as(w) for (n, w), p in zip(weights.items(), parts, strict=True)}
        return squared(torch.func.functional_call(network, named, (inputs,)), targets).mean()

    flat = torch.cat([weight.detach().flatten() for weight in weights.values()])
    matrix: Tensor = torch.autograd.functional.hessian(mean, flat)  # type: ignore[assignment]
    found = nas_sweep.landscape.curvature(
        network, (inputs, targets), loss=squared, dtype=F64, tolerance=1e-9, probes=400
    )
    values = np.linalg.eigvalsh(matrix.numpy())
    assert found.top_eigenvalue == pytest.approx(values[-1], rel=1e-6)
    assert found.trace == pytest.approx(values.sum(), abs=4 * found.trace_standard_error)
    assert found.parameters == len(flat)


def squared(outputs: Tensor, targets: Tensor) -> Tensor:
    return (outputs - targets).square().mean(1)


def test_another_loss_has_no_accuracy_and_must_be_of_each_instance():
    network = nn.Linear(3, 2)
    given = torch.randn(4, 3), torch.randn(4, 2)
    assert math.isnan(nas_sweep.landscape.gradient_variance(network, given, loss=squared).accuracy)
    losses: list[Any] = [nn.MSELoss(), lambda outputs, targets: 3, lambda outputs, targets: outputs]
    for loss in losses:
        with pytest.raises(SpecError, match=r"the loss of 4 instances is .*, not \[4\]"):
            nas_sweep.landscape.contour(network, given, loss=loss, rows=1, columns=1)


@pytest.mark.parametrize(
    ("model", "given", "error"),
    [
        (nn.ReLU(), (torch.zeros(1), torch.zeros(1)), "the network has no parameters"),
        (nn.Linear(1, 1), [], "over 0 images"),
        (nn.Linear(1, 1), (torch.zeros(2, 1), torch.zeros(1)), "over 2 images with 1 labels"),
        (nn.Linear(1, 1), [torch.zeros(2, 1)] * 3, "neither inputs and targets nor batches"),
        (nn.Linear(1, 1), "abc", "neither inputs and targets nor batches"),
    ],
)
def test_what_can_not_be_measured_is_one_line(model, given, error):
    with pytest.raises((SpecError, DataError), match=error):
        nas_sweep.landscape.contour(model, given, rows=1, columns=1)
