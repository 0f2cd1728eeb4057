"""Images in batches, the arithmetic around them, and random subsets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import DataError, SpecError
from workers.landscape.instances import Instances, exact, subset

CPU = torch.device("cpu")


@given(st.integers(1, 60), st.integers(2, 20))
def test_batches_are_in_order_small_enough_and_never_of_one_among_several(count, batch):
    images = torch.arange(count).float().view(-1, 1, 1, 1)
    batches = Instances(images, torch.arange(count), batch=batch)
    sizes = [len(labels) for _, labels in batches]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(count))
    assert max(sizes) <= batch
    assert min(sizes) > 1 or count == 1 or batch == 2


def test_no_images_too_few_labels_and_no_batch_are_refused():
    images, labels = torch.zeros(4, 3, 8, 8), torch.zeros(4, dtype=torch.int64)
    with pytest.raises(DataError, match="0 images"):
        Instances(images[:0], labels[:0], batch=1)
    with pytest.raises(DataError, match="4 images with 3 labels"):
        Instances(images, labels[:3], batch=1)
    with pytest.raises(SpecError, match="batch of 0"):
        Instances(images, labels, batch=0)


def test_tf32_is_off_within_and_as_before_afterwards():
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    others = (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic)
    torch.backends.cudnn.allow_tf32 = True
    try:
        with pytest.raises(ZeroDivisionError), exact(CPU):
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            assert (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic) == others
            raise ZeroDivisionError
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_draws_within_are_the_same_each_time():
    with exact(CPU):
        first = torch.randn(3)
    with exact(CPU):
        assert torch.equal(torch.randn(3), first)
    assert not torch.equal(torch.randn(3), first)


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 5))
def test_a_subset_is_random_sorted_and_repeatable(total, size, seed):
    chosen = subset(seed, size, total).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(size, total)
    assert set(chosen) <= set(range(total))
    assert subset(seed, size, total).tolist() == chosen


def test_subsets_differ_by_seed_and_are_never_empty():
    assert subset(0, 20, 200).tolist() != subset(1, 20, 200).tolist()
    with pytest.raises(SpecError, match="a subset of 0"):
        subset(0, 0, 10)
