"""Theorem 4.3: variances against a loop over instances, the bound against its printed sum."""

import pytest
import torch

from workers.theory.variance import (
    block_variances,
    spectral_norms,
    spectral_radii,
    theorem_4_3,
)

D, B, N, W = 3, 7, 4, 3


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


def test_a_weight_of_zero_is_no_exception():
    norms = torch.tensor([[2.0, 0.0, 3.0]], dtype=torch.float64)
    found = theorem_4_3(torch.ones_like(norms), norms)
    assert found.tolist() == [[3.0, 3 * (4 + 36), 0.0]]


def test_the_largest_singular_value_is_not_the_largest_eigenvalue():
    shear = torch.tensor([[[[1.0, 10.0], [0.0, 1.0]]]], dtype=torch.float64)
    assert float(spectral_radii(shear)) == pytest.approx(1)
    assert float(spectral_norms(shear)) == pytest.approx((51 + 2600**0.5) ** 0.5)
