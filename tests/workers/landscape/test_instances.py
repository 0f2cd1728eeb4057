import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from workers.landscape.instances import Instances, subset


@given(st.integers(0, 1000), st.integers(1, 300), st.integers(1, 300))
def test_a_subset_is_rising_distinct_and_no_larger_than_the_whole(seed, size, total):
    indices = subset(seed, size, total)
    assert len(indices) == min(size, total)
    assert torch.equal(indices, subset(seed, size, total))
    assert indices.unique().tolist() == indices.tolist()
    assert indices[0] >= 0
    assert indices[-1] < total


def test_subsets_differ_by_seed_and_take_any_index():
    drawn = [subset(seed, 10, 100) for seed in range(60)]
    assert not torch.equal(drawn[0], drawn[1])
    assert len(torch.cat(drawn).unique()) > 90


def test_the_whole_is_taken_where_it_is_no_larger():
    assert subset(3, 10, 4).tolist() == [0, 1, 2, 3]
    with pytest.raises(SpecError, match="subset of 0"):
        subset(3, 0, 4)


@given(st.integers(1, 60), st.integers(2, 20))
def test_batches_are_in_order_small_enough_and_never_of_one_among_several(count, batch):
    images = torch.arange(count).float().view(-1, 1, 1, 1)
    instances = Instances(images, torch.arange(count), dtype=torch.float64, batch=batch)
    sizes = [len(labels) for _, labels in instances]
    assert torch.cat([labels for _, labels in instances]).tolist() == list(range(count))
    assert max(sizes) <= batch
    assert min(sizes) > 1 or count == 1 or batch == 2
