import pytest
import torch

from workers.landscape.precision import exact

CPU = torch.device("cpu")


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
