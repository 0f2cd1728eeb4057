"""The network is the published one in size, heads, dead parts, dropped paths and first weights."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named, zoo, zoo_genotype
from workers.cells.sampling import sample_connections, sample_operations
from workers.cells.topology import reconcat
from workers.draws import generator
from workers.network.network import AuxiliaryHead, CellModule, DropPath, Network, build_network
from workers.network.operations import FactorizedReduce

SMALL = NetworkSpec(cells=5, channels=4)


def small(name: str = "DARTS", seed: int = 0) -> Network:
    return build_network(named(name), SMALL, in_channels=1, classes=10, seed=seed)


@pytest.mark.parametrize(("cells", "where"), [(20, [6, 13]), (8, [2, 5]), (5, [1, 3]), (3, [1, 2])])
def test_reduction_cells_lie_at_one_and_two_thirds(cells: int, where: list[int]):
    network = build_network(
        named("DARTS"), NetworkSpec(cells, 4), in_channels=1, classes=10, seed=0
    )
    heights = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, output: heights.append(output.shape[2:]))
    network(torch.randn(2, 1, 16, 16))
    halved = [16 // 2 ** sum(index >= at for at in where) for index in range(cells)]
    assert heights == [(height, height) for height in halved]
    after = [i for i, c in enumerate(network.cells) if isinstance(c.preprocess0, FactorizedReduce)]
    assert after == [at + 1 for at in where if at + 1 < cells]


def test_the_seed_alone_decides_the_weights():
    before = torch.get_rng_state()
    first = small(seed=3).state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(99)
    again, other = small(seed=3).state_dict(), small(seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem.0.weight"], other["stem.0.weight"])


def test_nodes_of_any_in_degree():
    skip, pool = Edge("skip_connect", 0), Edge("max_pool_3x3", 1)
    cell = Cell(((skip, pool, pool), (), (Edge("sep_conv_3x3", 3),), (skip,)), (2, 3, 4, 5))
    network = build_network(Genotype(cell, cell), SMALL, in_channels=1, classes=10, seed=0)
    maps = []
    network.cells[1].register_forward_hook(lambda _, __, output: maps.append(output))
    assert network(torch.randn(2, 1, 16, 16)).isfinite().all()
    two, three, four, five = maps[0].chunk(4, dim=1)
    assert two.shape == three.shape == four.shape == five.shape == (2, 8, 8, 8)
    assert (three == 0).all()
    assert (four == 0).all()
    assert (five != 0).any()


def test_images_that_cannot_be_halved_twice_are_refused():
    with pytest.raises(SpecError, match="14×16"):
        small()(torch.randn(2, 1, 14, 16))


def with_head(stem_stride: int = 1) -> Network:
    return build_network(
        named("DARTS"),
        replace(SMALL, stem_stride=stem_stride),
        in_channels=3,
        classes=10,
        seed=0,
        auxiliary=True,
    )


@pytest.mark.parametrize(("image", "stem_stride"), [(32, 1), (64, 2)])
def test_both_heads_answer_and_train(image: int, stem_stride: int):
    network = with_head(stem_stride)
    x = torch.randn(4, 3, image, image)
    logits, auxiliary = network.forward_with_auxiliary(x)
    assert logits.shape == auxiliary.shape == (4, 10)
    assert torch.equal(network(x), logits), "alone"
    (0.4 * F.cross_entropy(auxiliary, torch.arange(4))).backward()
    reached = {name for name, p in network.named_parameters() if p.grad is not None}
    assert any(name.startswith("cells.3.") for name in reached), "the second reduction cell"
    assert not any(name.startswith(("cells.4.", "classifier.")) for name in reached)


def test_the_head_is_the_published_one():
    head = AuxiliaryHead(6, 10).eval()
    x = torch.randn(2, 6, 8, 8)
    means = torch.stack(
        [
            torch.stack([F.relu(x)[:, :, i : i + 5, j : j + 5].mean((2, 3)) for j in (0, 3)], -1)
            for i in (0, 3)
        ],
        -2,
    )
    hidden = F.relu(head.features[3](head.features[2](means)))
    wide = F.relu(head.features[6](head.features[5](hidden))).flatten(1)
    assert hidden.shape[1:] == (128, 2, 2)
    assert wide.shape[1:] == (768,)
    torch.testing.assert_close(head(x), head.classifier(wide))


def test_a_head_that_is_missing_or_gets_no_8x8_map_is_an_error():
    with pytest.raises(SpecError, match="8×8, not 4×4") as caught:
        with_head().forward_with_auxiliary(torch.randn(2, 3, 16, 16))
    assert "32×32" in caught.value.fix
    with pytest.raises(SpecError, match="no auxiliary head"):
        small().forward_with_auxiliary(torch.randn(2, 1, 32, 32))


def test_a_head_leaves_the_other_initial_weights_alone():
    plain = build_network(named("DARTS"), SMALL, in_channels=3, classes=10, seed=0)
    ours = dict(with_head().named_parameters())
    assert all(torch.equal(weight, ours[name]) for name, weight in plain.named_parameters())


def drop_path(probability: float, seed: int = 0) -> DropPath:
    drop = DropPath(generator(seed, 0, "drop path"))
    drop.probability.fill_(probability)
    return drop


def test_edges_and_samples_are_dropped_independently_and_survivors_scaled_so_that_the_mean_stays():
    masks = torch.stack(drop_path(0.2).masks(edges=40, batch=500, dtype=torch.float32))
    assert masks.shape == (40, 500, 1, 1, 1)
    torch.testing.assert_close(masks.unique(), torch.tensor([0.0, 1.25]))
    # Six standard errors of 20,000 draws; a standard error of one edge's 500 is 0.018.
    dropped = (masks == 0).double().flatten(1)
    assert abs(dropped.mean() - 0.2) < 0.017
    assert 0.008 < dropped.mean(1).std() < 0.03
    assert abs(torch.corrcoef(dropped[:2])[0, 1]) < 0.25
    assert (
        abs(torch.corrcoef(torch.stack([dropped[:, 1:].ravel(), dropped[:, :-1].ravel()]))[0, 1])
        < 0.05
    )


def test_paths_are_dropped_by_the_generator_alone_with_its_probability_of_the_moment():
    x, before = torch.randn(4, 1, 16, 16), torch.get_rng_state()
    drop, net = drop_path(0.0), small()
    assert torch.equal(net(x, drop), small()(x))
    drop.probability.fill_(0.5)
    assert not torch.equal(net(x, drop), small()(x))
    first, again, other = (small()(x, drop_path(0.5, seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


class Recorded(DropPath):
    """Drop path that records how many masks it was asked for and drops every edge."""

    def masks(self, edges: int, batch: int, dtype: torch.dtype):
        self.asked = edges
        return tuple(torch.zeros(batch, 1, 1, 1) for _ in range(edges))


@pytest.mark.parametrize(
    ("name", "edges"),
    [
        # Three normal cells of 8 edges with 2 identities; two reduction cells of 8 with 3.
        ("DARTS", 3 * 6 + 2 * 5),
        # Three normal cells of 10 with 2; of two reduction cells' 10, 2 nodes of 2 are dead.
        ("ENAS_ADAPT", 3 * 8 + 2 * 6),
    ],
)
def test_every_live_edge_but_the_identity_is_dropped(name: str, edges: int):
    net, drop = small(name), Recorded(generator(0, 0, "drop path"))
    net(torch.randn(2, 1, 16, 16), drop)
    assert drop.asked == net.droppable == edges


def test_identities_survive():
    net, drop = small(), Recorded(generator(0, 0, "drop path"))
    maps = []
    first = net.cells[0]
    assert isinstance(first, CellModule)
    first.preprocess0.register_forward_hook(lambda *call: maps.append(call[2].clone()))
    first.register_forward_hook(lambda *call: maps.append(call[2].clone()))
    net(torch.randn(2, 1, 16, 16), drop)
    # DARTS's nodes 4 and 5 take input 0 by an identity and all else by droppable operations.
    preprocessed, output = maps
    two, three, four, five = output.chunk(4, dim=1)
    assert (two == 0).all()
    assert (three == 0).all()
    assert torch.equal(four, preprocessed)
    assert torch.equal(five, preprocessed)


def test_masks_keep_channels_last():
    net = small().to(memory_format=torch.channels_last)
    x = torch.randn(4, 1, 16, 16).contiguous(memory_format=torch.channels_last)
    layouts = []
    for cell in net.cells:
        cell.register_forward_hook(
            lambda *call: layouts.append(call[2].is_contiguous(memory_format=torch.channels_last))
        )
    net(x, drop_path(0.3))
    assert all(layouts)


SEEDS = st.integers(0, 2**32 - 1)


def check_logits(genotype: Genotype, image: int) -> None:
    """Finite logits of the right shape in training and in evaluation."""
    net = build_network(genotype, NetworkSpec(3, 2), in_channels=3, classes=7, seed=0)
    for train in (True, False):
        logits = net.train(train)(torch.randn(2, 3, image, image))
        assert logits.shape == (2, 7)
        assert torch.isfinite(logits).all()


@settings(max_examples=10)
@given(st.sampled_from(BASES), SEEDS, SEEDS, st.booleans(), st.sampled_from([16, 32]))
def test_any_sampled_genotype_is_built(base, one, other, reconnect, image):
    genotype = sample_operations(sample_connections(named(base), one), other)
    check_logits(reconcat(genotype) if reconnect else genotype, image)


@pytest.mark.parametrize("name", zoo())
def test_every_cell_of_the_zoo_is_built(name: str):
    check_logits(zoo_genotype(name), 16)
