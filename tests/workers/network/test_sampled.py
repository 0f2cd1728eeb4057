"""Whatever a sampler draws is a cell that a network can be built of."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import BASES, named, zoo, zoo_genotype
from workers.cells.sampling import sample_connections, sample_operations
from workers.cells.topology import reconcat
from workers.network.network import build_network

SEEDS = st.integers(0, 2**32 - 1)


def check_logits(genotype: Genotype, image: int) -> None:
    """Finite logits of the right shape in training and in evaluation."""
    net = build_network(genotype, NetworkSpec(3, 2), in_channels=3, classes=7, seed=0)
    for train in (True, False):
        logits = net.train(train)(torch.randn(2, 3, image, image))
        assert logits.shape == (2, 7)
        assert torch.isfinite(logits).all()


@settings(max_examples=15)
@given(st.sampled_from(BASES), SEEDS, SEEDS, st.booleans(), st.sampled_from([32, 64]))
def test_any_sampled_genotype_is_built_and_named_by_its_content(base, one, other, mend, image):
    genotype = sample_operations(sample_connections(named(base), one), other)
    if mend:
        genotype = reconcat(genotype)
    check_logits(genotype, image)
    spec = TrialSpec(genotype, "cifar10", 1, NetworkSpec(), Recipe(), 0.025, 0)
    again = TrialSpec.from_json(spec.to_json())
    assert again == spec
    assert again.trial_id == spec.trial_id


@pytest.mark.parametrize("name", zoo())
def test_every_cell_of_the_zoo_is_built(name):
    check_logits(zoo_genotype(name), 32)
