import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.landscape.moments import Moments, squared_norms


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.floats(-1e6, 1e6))
def test_batches_merge_to_the_moments_of_all(sizes, offset):
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(sum(sizes), 4, generator=draws, dtype=torch.float64) + offset
    total, by_entry = Moments(), Moments(by_entry=True)
    for batch in rows.split(sizes):
        total.add(batch.clone())
        by_entry.add(batch.clone())
    wanted = (rows - rows.mean(0)).square().sum(0)
    assert total.count == len(rows)
    torch.testing.assert_close(total.mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_entry.scatter, wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(total.scatter, wanted.sum(), rtol=1e-8, atol=1e-8)


def test_squares_beyond_float32_are_told_in_float64():
    vectors = torch.tensor([[3e30, 1.0], [-3e30, 1.0]])
    wanted = torch.full((2,), 9e60, dtype=torch.float64)
    torch.testing.assert_close(squared_norms(vectors.clone(), 1), wanted, rtol=1e-6, atol=0)
    moments = Moments()
    moments.add(vectors)
    torch.testing.assert_close(
        moments.scatter, torch.tensor(18e60, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_equal_vectors_do_not_scatter():
    moments = Moments()
    moments.add(torch.zeros(3, 2))
    assert moments.scatter == 0


def test_what_is_not_finite_is_told_as_nan():
    moments = Moments()
    moments.add(torch.tensor([[float("inf"), 1.0], [0.0, 1.0]]))
    assert moments.scatter.isnan()
