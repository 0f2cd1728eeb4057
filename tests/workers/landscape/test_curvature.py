"""Products, eigenvalues and trace are those of the Hessian written out."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from small_landscapes import GENOTYPES, instances, network
from torch import Tensor
from torch.func import functional_call

from results_schema.errors import DataError
from results_schema.genotype import Cell, Edge, Genotype
from workers.landscape.curvature import Hessian, Hutchinson, Lanczos
from workers.landscape.layers import live_parameters
from workers.network.network import Network

_CELL = Cell(((Edge("dil_conv_3x3", 1), Edge("max_pool_3x3", 0)),), (2,))
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
    # Row by row: a vectorised loop would have to batch the pools' derivatives.
    found = torch.autograd.functional.hessian(loss, flat)
    assert isinstance(found, Tensor)
    return found


@pytest.fixture(scope="module")
def case() -> tuple[Network, Tensor, Tensor, Tensor]:
    images, labels = instances(6, 8)
    trained = network(TINY)
    return trained, images, labels, explicit(trained, images, labels)


def test_products_are_those_of_the_hessian(case):
    trained, images, labels, matrix = case
    hessian = Hessian(trained, images, labels, dtype=F64, batch=4)
    vector = hessian.random(0)
    assert hessian.size == len(matrix)
    torch.testing.assert_close(hessian.times(vector), matrix @ vector, rtol=1e-9, atol=1e-9)
    assert set(hessian.random(0, signs=True).tolist()) == {-1.0, 1.0}


def test_both_ends_of_the_spectrum_are_found(case):
    trained, images, labels, matrix = case
    wanted = torch.linalg.eigvalsh(matrix)
    hessian = Hessian(trained, images, labels, dtype=F64, batch=6)
    found = Lanczos(hessian, tolerance=1e-7).run()
    assert found.converged
    assert found.largest == pytest.approx(float(wanted[-1]), rel=1e-9)
    assert found.residual <= 1e-7 * found.largest
    assert found.smallest == pytest.approx(float(wanted[0]), rel=1e-2)
    assert max(found.largest, -found.smallest) == pytest.approx(float(wanted.abs().max()), rel=1e-2)
    short = Lanczos(hessian, iterations=2).run()
    assert not short.converged
    assert short.iterations == 2
    assert min(abs(wanted - short.largest)) <= short.residual


def test_a_negative_spectrum_has_its_magnitude_at_the_other_end(
    case, monkeypatch: pytest.MonkeyPatch
):
    trained, images, labels, matrix = case
    hessian = Hessian(trained, images, labels, dtype=F64, batch=6)
    times: Callable[[Tensor], Tensor] = hessian.times
    monkeypatch.setattr(hessian, "times", lambda vector: -times(vector))
    found = Lanczos(hessian, tolerance=1e-6).run()
    assert -found.smallest == pytest.approx(float(torch.linalg.eigvalsh(matrix)[-1]), rel=1e-3)
    assert -found.smallest > abs(found.largest)


def test_the_trace_is_within_its_errors(case):
    trained, images, labels, matrix = case
    hessian = Hessian(trained, images, labels, dtype=F64, batch=6)
    wanted = float(matrix.trace())
    found = Hutchinson(hessian, tolerance=0.1, probes=60).run()
    assert abs(found.value - wanted) < 4 * found.standard_error
    assert found.converged == (found.standard_error <= 0.1 * abs(found.value))
    first, again, other = (Hutchinson(hessian, seed=s, probes=9).run().value for s in (0, 0, 1))
    assert first == again != other


@pytest.mark.parametrize("name", ["all", "AmoebaNet"])
def test_every_operation_can_be_differentiated_twice(name: str):
    images, labels = instances(2, 8)
    trained = network(GENOTYPES[name])
    single, double = (
        Hessian(trained, images, labels, dtype=dtype, batch=2) for dtype in (torch.float32, F64)
    )
    vector = double.random(0)
    wanted = double.times(vector)
    assert float((single.times(vector) - wanted).norm() / wanted.norm()) < 1e-3


def test_a_diverged_checkpoint_has_no_curvature(case):
    trained, images, labels, _ = case
    broken = network(TINY)
    with torch.no_grad():
        broken.classifier.weight[0] = math.nan
    hessian = Hessian(broken, images, labels, dtype=F64, batch=6)
    assert math.isnan(Lanczos(hessian).run().largest)
    assert not Lanczos(hessian).run().converged
    assert math.isnan(Hutchinson(hessian).run().value)
    with pytest.raises(DataError):
        Hessian(trained, images[:0], labels[:0], dtype=F64, batch=6)
