import torch

from workers.draws import derive, generator


def test_a_derived_seed_never_changes():
    """A checkpoint of today must resume with the same draws in a later version."""
    assert derive(0, "init") == 5178188355558464636
    assert derive(7, "augmentation", 3) == 5484016295193755152


def test_purposes_do_not_share_a_seed():
    purposes = [(0, "a", 1), (0, "a", "1"), (0, "a1"), (0, "a", 1, 0), (1, "a", 1), (0, 1, "a")]
    assert len({derive(*purpose) for purpose in purposes}) == len(purposes)
    assert all(0 <= derive(*purpose) < 2**63 for purpose in purposes)


def test_generator_repeats_and_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    first = torch.rand(5, generator=generator(3, 4, "order"))
    assert torch.equal(first, torch.rand(5, generator=generator(3, 4, "order")))
    assert not torch.equal(first, torch.rand(5, generator=generator(3, 5, "order")))
    assert torch.equal(before, torch.get_rng_state())
