"""Networks that are not ours are measured too: a ResNet, against naive loops."""

import copy
import json
import math
from typing import Any

import pytest
import torch
from small_landscapes import distances, instance_gradients, instances
from small_landscapes import moved as moved_along
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torchvision.models.densenet import DenseNet
from torchvision.models.resnet import BasicBlock, ResNet

from results_schema.errors import SpecError
from workers.landscape.contour import Contour
from workers.landscape.curvature import Hessian
from workers.landscape.gradient_variance import GradientVariance
from workers.landscape.instance_gradients import weight_gradients
from workers.landscape.instances import Instances
from workers.landscape.plane import draw_directions

F64 = torch.float64
POINT = (0.2, -0.1)


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.manual_seed(0)
    network = ResNet(BasicBlock, [1, 1, 1, 1], num_classes=5)
    network.conv1 = nn.Conv2d(3, 64, 3, bias=True)  # a bias before a normalisation
    for name in ("layer3", "layer4"):  # most weights, and nothing new
        network.set_submodule(name, nn.Identity())
    network.fc = nn.Linear(128, 5)
    network.double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return network.eval()


@pytest.fixture(scope="module")
def case() -> tuple[Tensor, Tensor, Instances]:
    images, labels = instances(3, 16)
    return images, labels, Instances(images, labels, dtype=F64, batch=2)


def moved(trained: Any) -> nn.Module:
    return moved_along(trained, draw_directions(trained, seed=1), *POINT)


def test_contour_and_variance_are_those_of_loops(trained: nn.Module, case):
    images, labels, given = case
    directions, at = draw_directions(trained, seed=1), moved(trained)
    loss = pytest.approx(float(cross_entropy(at(images), labels).detach()), rel=1e-10)
    assert Contour(trained, directions, given).at(*POINT)["loss"] == loss
    gradients = instance_gradients(at, images, labels)
    point = GradientVariance(trained, directions, given).at(*POINT, by_parameter=True)
    assert point["loss"] == loss
    assert point["variance"] == pytest.approx(float(distances(gradients).mean()), rel=1e-10)
    for name, value in json.loads(point["by_parameter"]).items():
        wanted = gradients.pop(name).var(0, correction=0).sum().item()
        assert value == pytest.approx(wanted, rel=1e-9, abs=1e-12 * point["variance"]), name
    assert not gradients


def test_products_are_those_of_its_hessian(trained: nn.Module, case):
    images, labels, given = case
    hessian = Hessian(trained, given)
    assert hessian.size == sum(weight.numel() for weight in trained.parameters())
    network = nn.Sequential(nn.Flatten(), nn.Linear(48, 4), nn.Tanh(), nn.Linear(4, 5)).double()
    images = images[:, :, :4, :4]
    small = Hessian(network, Instances(images, labels, dtype=F64, batch=2))
    names = [name for name, _ in network.named_parameters()]
    vector, shapes = small.random(0), [weight.shape for weight in network.parameters()]

    def loss(*weights: Tensor) -> Tensor:
        named = dict(zip(names, weights, strict=True))
        return cross_entropy(functional_call(network, named, (images,)), labels)

    pieces = vector.split([shape.numel() for shape in shapes])
    along = tuple(piece.view(shape) for piece, shape in zip(pieces, shapes, strict=True))
    _, wanted = torch.autograd.functional.hvp(loss, tuple(network.parameters()), along)
    flat = torch.cat([part.reshape(-1) for part in wanted])
    torch.testing.assert_close(small.times(vector), flat, rtol=1e-9, atol=1e-12)


def test_a_normalisation_before_its_convolution_is_not_folded():
    network = DenseNet(4, (1, 1, 1, 1), 8, bn_size=1, num_classes=5).double().eval()
    images, labels = instances(2, 32)
    given, directions = Instances(images, labels, dtype=F64, batch=2), draw_directions(network, 1)
    with torch.no_grad():
        loss = float(cross_entropy(moved(network)(images), labels))
    assert Contour(network, directions, given).at(*POINT)["loss"] == pytest.approx(loss, rel=1e-10)


class Twice(nn.Module):
    """Runs one layer twice, and a convolution by its weight alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.mix = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.mix.weight - self.mix.weight.mean()
        return torch.nn.functional.conv2d(self.conv(self.conv(x).relu()), weight)


class Branching(nn.Module):
    """Does what torch.func can't batch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor([2.0]))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.scale if x.mean().item() < 1e9 else x * self.scale**2


class Mixing(nn.Module):
    """Lets instances see each other."""

    def forward(self, x: Tensor) -> Tensor:
        return x - x.mean(0)


UGLY = {
    "group norm": [nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4)],
    "norm after a ReLU": [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4)],
    "norm without parameters": [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)],
    "groups": [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8)],
    "reflecting": [nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"), nn.PReLU()],
    "same padding": [nn.Conv2d(3, 4, 3, padding="same"), nn.ReLU(inplace=True)],
    "transposed": [nn.ConvTranspose2d(3, 4, 3), nn.ELU(inplace=True)],
    "one layer twice": [nn.Conv2d(3, 4, 3), Twice()],
    "a branch": [nn.Conv2d(3, 4, 3), Branching()],
}


def sequential(parts: list[nn.Module]) -> nn.Module:
    torch.manual_seed(1)
    network = nn.Sequential(*copy.deepcopy(parts), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    network.append(nn.LazyLinear(5))
    network(torch.randn(9, 3, 8, 8))  # statistics, and the shape of the last layer
    return network.double().eval()


@pytest.mark.parametrize("name", UGLY)
def test_modules_without_a_rule_are_run_for_each_instance(name: str):
    network = sequential(UGLY[name])
    images, labels = instances(5, 8)
    given, directions = Instances(images, labels, dtype=F64, batch=3), draw_directions(network, 1)
    at = moved(network)
    wanted = float(distances(instance_gradients(at, images, labels)).mean())
    measured = GradientVariance(network, directions, given)
    point = measured.at(*POINT, by_parameter=True, error=True)
    assert point["variance"] == pytest.approx(wanted, rel=1e-9)
    assert sum(json.loads(point["by_parameter"]).values()) == pytest.approx(wanted, rel=1e-9)
    loss = float(cross_entropy(at(images), labels).detach())
    assert Contour(network, directions, given).at(*POINT)["loss"] == pytest.approx(loss, rel=1e-10)
    assert bool(measured.notes) == (name != "norm without parameters")
    assert ("the network" in str(measured.notes)) == (name == "one layer twice")


@pytest.mark.parametrize(
    "last", [Mixing(), nn.BatchNorm2d(4, track_running_stats=False)], ids=["mean", "statistics"]
)
def test_instances_that_see_each_other_have_no_gradients_of_their_own(last: nn.Module):
    network = sequential([nn.Conv2d(3, 4, 3), last])
    images, labels = instances(4, 8)
    given, directions = Instances(images, labels, batch=2), draw_directions(network, seed=0)
    with pytest.raises(SpecError, match="they don't add up to that of a batch"):
        GradientVariance(network, directions, given)


def test_any_loss_and_any_inputs():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Embedding(7, 3), nn.Flatten(), nn.Linear(12, 2)).double()
    words, targets = torch.randint(7, (6, 4)), torch.randn(6, 2, dtype=F64)

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).square().mean(1)

    given = Instances(words, targets, dtype=F64, batch=4, loss=loss)
    directions = draw_directions(network, 1)
    point = GradientVariance(network, directions, given).at(*POINT)
    at = moved(network)
    weights = [*at.parameters()]
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(one, weights, retain_graph=True)])
        for one in loss(at(words), targets)
    ]
    wanted = torch.stack(rows).var(0, correction=0).sum().item()
    assert point["variance"] == pytest.approx(wanted, rel=1e-10)
    assert point["loss"] == pytest.approx(loss(at(words), targets).mean().item(), rel=1e-12)
    assert math.isnan(point["accuracy"])
    summed = Instances(words, targets, batch=4, loss=lambda o, t: loss(o, t).sum())
    with pytest.raises(SpecError, match=r"the loss of 3 instances is \[\], not \[3\]"):
        Contour(network, directions, summed).at(0, 0)


def test_a_layer_of_groups_has_no_rule():
    layer = nn.Conv2d(4, 4, 3, groups=2)
    with pytest.raises(TypeError, match="neither dense nor depthwise"):
        weight_gradients(layer, torch.randn(1, 4, 8, 8), torch.randn(1, 4, 6, 6))
