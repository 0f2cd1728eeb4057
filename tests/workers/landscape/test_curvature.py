"""Products, eigenvalues and trace are those of the Hessian written out."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_landscapes import GENOTYPES, instances, network
from torch import Tensor
from torch.func import functional_call

from results_schema.genotype import Cell, Edge, Genotype
from workers.landscape.curvature import Hessian, Hutchinson, Lanczos, run
from workers.landscape.instances import Instances
from workers.landscape.plane import live_parameters
from workers.network.network import Network

_CELL = Cell(((Edge("conv_1x1", 1), Edge("skip_connect", 0)),), (2,))
TINY = Genotype(_CELL, _CELL)
F64 = torch.float64


def explicit(trained: Network, images: Tensor, labels: Tensor) -> Tensor:
    weights = live_parameters(trained)
    shapes = [weight.shape for weight in weights.values()]
    sizes = [weight.numel() for weight in weights.values()]

    def loss(flat: Tensor) -> Tensor:
        pieces = [p.view(s) for p, s in zip(flat.split(sizes), shapes, strict=True)]
        logits = functional_call(trained, dict(zip(weights, pieces, strict=True)), (images,))
        return F.cross_entropy(logits, labels)

    flat = torch.cat([weight.detach().reshape(-1) for weight in weights.values()])
    found = torch.autograd.functional.hessian(loss, flat, vectorize=True)
    assert isinstance(found, Tensor)
    return found


def double_precision(images: Tensor, labels: Tensor) -> Instances:
    return Instances(images, labels, dtype=F64, batch=4)


@pytest.fixture(scope="module")
def case() -> tuple[Hessian, Tensor]:
    images, labels = instances(5, 4)
    trained = network(TINY)
    matrix = explicit(trained, images, labels)
    return Hessian(trained, double_precision(images, labels)), matrix


def test_products_are_those_of_the_hessian(case):
    hessian, matrix = case
    vector = hessian.random(0)
    assert hessian.size == len(matrix)
    torch.testing.assert_close(hessian.times(vector), matrix @ vector, rtol=1e-9, atol=1e-9)
    assert set(hessian.random(0, signs=True).tolist()) == {-1.0, 1.0}


def test_both_ends_of_the_spectrum_are_found(case):
    hessian, matrix = case
    wanted = torch.linalg.eigvalsh(matrix)
    found = run(Lanczos(hessian, tolerance=1e-7))
    assert found["eigen_converged"]
    assert found["top_eigenvalue"] == pytest.approx(float(wanted[-1]), rel=1e-9)
    assert found["top_residual"] <= 1e-7 * found["top_eigenvalue"]
    assert found["bottom_eigenvalue"] == pytest.approx(float(wanted[0]), rel=1e-2)
    short = run(Lanczos(hessian, iterations=2))
    assert (short["eigen_converged"], short["eigen_iterations"]) == (False, 2)
    assert min(abs(wanted - short["top_eigenvalue"])) <= short["top_residual"]


def test_a_negative_spectrum_has_its_magnitude_at_the_other_end(case, monkeypatch):
    hessian, matrix = case
    times: Callable[[Tensor], Tensor] = hessian.times
    monkeypatch.setattr(hessian, "times", lambda vector: -times(vector))
    found = run(Lanczos(hessian, tolerance=1e-6))
    largest = float(torch.linalg.eigvalsh(matrix)[-1])
    assert -found["bottom_eigenvalue"] == pytest.approx(largest, rel=1e-3)
    assert -found["bottom_eigenvalue"] > abs(found["top_eigenvalue"])


def test_the_trace_is_within_its_errors(case):
    hessian, matrix = case
    found = run(Hutchinson(hessian, tolerance=0.1, probes=60))
    error = found["trace_standard_error"]
    assert abs(found["trace"] - float(matrix.trace())) < 4 * error
    assert found["trace_converged"] == (error <= 0.1 * abs(found["trace"]))
    first, again, other = (run(Hutchinson(hessian, seed=s, probes=2))["trace"] for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("name", ["all", "AmoebaNet"])
def test_every_operation_can_be_differentiated_twice(name: str):
    images, labels = instances(2, 8)
    trained = network(GENOTYPES[name])
    single, double = (
        Hessian(trained, Instances(images, labels, dtype=dtype, batch=2))
        for dtype in (torch.float32, F64)
    )
    vector = double.random(0)
    wanted = double.times(vector)
    assert float((single.times(vector) - wanted).norm() / wanted.norm()) < 1e-3


def test_a_diverged_checkpoint_has_no_curvature():
    broken = network(TINY)
    with torch.no_grad():
        broken.classifier.weight[0] = math.nan
    hessian = Hessian(broken, double_precision(*instances(6, 8)))
    found = run(Lanczos(hessian)) | run(Hutchinson(hessian))
    assert math.isnan(found["top_eigenvalue"])
    assert not found["eigen_converged"]
    assert math.isnan(found["trace"])
