"""Theorem 4.2 against autograd and secants of the gradient; Theorem 4.3 against loops."""

import pytest
import torch
from torch import Tensor

from workers.theory.objectives import (
    OBJECTIVES,
    Cells,
    cross_entropy,
    draw_cells,
    narrow,
    weight_gradients,
)
from workers.theory.smoothness import (
    block_hessian,
    block_smoothness,
    block_variances,
    counterexample,
    spectral_norms,
    spectral_radii,
    theorem_4_3,
)

D, B, N, W = 4, 6, 3, 3
SMOOTH = ("quadratic", "cross-entropy")


def drawn(name: str, draws: int = D, gain: float = 1.3):
    generator = torch.Generator().manual_seed(3)
    cells = draw_cells(draws, B, N, W, gain=gain, generator=generator)
    return OBJECTIVES[name](draws, B, N, W, generator), cells


def norms(cells: Cells) -> Tensor:
    return torch.linalg.svdvals(cells.weights)[..., 0]


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("node", range(N))
def test_the_block_hessian_is_that_of_autograd(name, node):
    objective, cells = drawn(name)

    def loss(block: Tensor) -> Tensor:
        weights = torch.cat([cells.weights[:, :node], block, cells.weights[:, node + 1 :]], 1)
        return objective.losses(narrow(weights, cells.inputs)).mean(1).sum()

    whole = torch.autograd.functional.hessian(loss, cells.weights[:, node : node + 1].clone())
    assert isinstance(whole, Tensor)
    whole = whole.reshape(D, W**2, D, W**2)
    found = block_hessian(objective, cells, node)
    for draw in range(D):
        torch.testing.assert_close(found[draw], whole[draw, :, draw])


def test_a_quadratics_constant_is_the_product_of_two_norms():
    objective, cells = drawn("quadratic")
    true = block_smoothness(objective, cells, norms(cells)).true
    for t in range(D):
        weights, inputs = cells.weights[t], cells.inputs[t]
        read = inputs  # what node i reads
        for i in range(N):
            ahead, back = torch.eye(W, dtype=torch.float64), torch.eye(W, dtype=torch.float64)
            for k in range(i + 1, N):
                ahead = weights[k] @ ahead
                back = back + ahead.T @ ahead
            second = read.T @ read / B
            wanted = torch.linalg.svdvals(back)[0] * torch.linalg.svdvals(second)[0]
            torch.testing.assert_close(true[t, i], wanted)
            read = read @ weights[i].T


@pytest.mark.parametrize("name", SMOOTH)
def test_no_secant_of_the_gradient_is_steeper_than_the_corrected_bound(name):
    objective, cells = drawn(name, draws=200)
    draws = torch.Generator().manual_seed(4)
    for node in range(N):
        for size in (1e-3, 1.0, 30.0):
            steps = torch.randn(200, W, W, generator=draws, dtype=torch.float64) * size
            moved = cells.weights.clone()
            moved[:, node] += steps
            one, two = (
                weight_gradients(objective, narrow, weights, cells.inputs)[:, node]
                for weights in (cells.weights, moved)
            )
            slope = (one - two).norm(dim=(1, 2)) / steps.norm(dim=(1, 2))
            # The bound has no norm of block i, which may move as far as it likes.
            bound = block_smoothness(objective, cells, norms(cells)).corrected[:, node]
            assert (slope <= bound).all()


def test_a_quadratics_gradient_breaks_the_printed_bound():
    objective, cells = drawn("quadratic", draws=200)
    found = block_smoothness(objective, cells, norms(cells))
    assert (found.true[:, 0] > found.printed[:, 0]).all()
    assert (found.true <= found.corrected).all()
    assert counterexample() == (1.0, 2.0, 4.0)


def test_cross_entropy_is_no_more_bent_than_it_says():
    objective = cross_entropy(1, 1, N, W, torch.Generator().manual_seed(5))
    assert objective.lipschitz is not None
    whole, each = (constant[0] for constant in objective.lipschitz())
    draws = torch.Generator().manual_seed(6)
    for size in (0.1, 1.0, 10.0):
        for _ in range(20):
            z = size * torch.randn(1, 1, N, W, generator=draws, dtype=torch.float64)
            hessian = torch.autograd.functional.hessian(lambda z: objective.losses(z).sum(), z)
            assert isinstance(hessian, Tensor)
            hessian = hessian.reshape(N, W, N, W)
            assert torch.linalg.eigvalsh(hessian.reshape(N * W, -1))[-1] <= whole
            for node in range(N):
                assert torch.linalg.eigvalsh(hessian[node, :, node])[-1] <= each[node]


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("norm", ["fro", 2])
def test_a_variance_is_the_mean_squared_distance_from_the_mean(norm):
    left, right = normal(D, B, N, W), normal(D, B, N, W, seed=1)
    found = block_variances(left, right, norm)
    for t in range(D):
        for i in range(N):
            each = [torch.outer(left[t, b, i], right[t, b, i]) for b in range(B)]
            mean = torch.stack(each).mean(0)
            wanted = sum(float(torch.linalg.matrix_norm(g - mean, norm)) ** 2 for g in each) / B
            assert float(found[t, i]) == pytest.approx(wanted)


@pytest.mark.parametrize("sharp", [False, True])
def test_the_bound_is_the_printed_sum(sharp):
    variances, norms = normal(D, N).square(), normal(D, N, seed=1).abs()
    found = theorem_4_3(variances, norms, sharp=sharp)
    for t in range(D):
        for i in range(N):
            wanted = 0.0
            for k in range(i, N):
                factor = float(variances[t, k]) ** 0.5 / float(norms[t, i])
                for j in range(k + 1):
                    factor *= float(norms[t, j])
                wanted += factor**2
            wanted *= N - i if sharp else N
            assert float(found[t, i]) == pytest.approx(wanted)


def test_a_weight_of_zero_is_no_exception_and_radii_are_no_norms():
    norms = torch.tensor([[2.0, 0.0, 3.0]], dtype=torch.float64)
    found = theorem_4_3(torch.ones_like(norms), norms)
    assert found.tolist() == [[3.0, 3 * (4 + 36), 0.0]]
    shear = torch.tensor([[[[1.0, 10.0], [0.0, 1.0]]]], dtype=torch.float64)
    assert float(spectral_radii(shear)) == pytest.approx(1)
    assert float(spectral_norms(shear)) == pytest.approx((51 + 2600**0.5) ** 0.5)
