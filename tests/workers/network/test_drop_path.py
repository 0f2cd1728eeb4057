import pytest
import torch

from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.draws import generator
from workers.network.cell import Cell
from workers.network.drop_path import DropPath
from workers.network.network import Network, build_network


def drop_path(probability: float, seed: int = 0) -> DropPath:
    drop = DropPath(generator(seed, 0, "drop path"))
    drop.probability.fill_(probability)
    return drop


def network(name: str = "DARTS") -> Network:
    return build_network(named(name), NetworkSpec(5, 4), in_channels=1, classes=10, seed=0)


def test_survivors_are_scaled_so_that_the_mean_stays():
    masks = torch.stack(drop_path(0.2).masks(edges=40, batch=500, dtype=torch.float32))
    assert masks.shape == (40, 500, 1, 1, 1)
    torch.testing.assert_close(masks.unique(), torch.tensor([0.0, 1.25]))
    # Six standard errors of 20,000 draws; a standard error of one edge's 500 is 0.018.
    assert abs((masks == 0).double().mean() - 0.2) < 0.017
    by_edge = (masks == 0).double().mean(1).flatten()
    assert 0.008 < by_edge.std() < 0.03


def test_edges_and_samples_are_dropped_independently():
    kept = (
        (torch.stack(drop_path(0.5).masks(edges=2, batch=4000, dtype=torch.float32)) > 0)
        .double()
        .flatten(1)
    )
    assert abs(torch.corrcoef(kept)[0, 1]) < 0.1
    assert abs(torch.corrcoef(torch.stack([kept[0, 1:], kept[0, :-1]]))[0, 1]) < 0.1


def test_probability_zero_changes_nothing():
    x = torch.randn(4, 1, 16, 16)
    for name in ("DARTS", "ENAS_ADAPT"):
        trained, plain = network(name), network(name)
        assert torch.equal(trained(x, drop_path(0.0)), plain(x))


def test_the_same_generator_state_gives_the_same_logits_and_global_state_is_left_alone():
    x = torch.randn(4, 1, 16, 16)
    before = torch.get_rng_state()
    first, again, other = (network()(x, drop_path(0.5, seed)) for seed in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_probability_can_change_between_steps():
    net, drop, x = network(), drop_path(0.0), torch.randn(4, 1, 16, 16)
    plain = net(x, drop)
    drop.probability.fill_(0.5)
    assert not torch.equal(net(x, drop), plain)


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
    net, drop = network(name), Recorded(generator(0, 0, "drop path"))
    net(torch.randn(2, 1, 16, 16), drop)
    assert drop.asked == net.droppable == edges


def test_identities_survive():
    net, drop = network(), Recorded(generator(0, 0, "drop path"))
    maps = []
    first = net.cells[0]
    assert isinstance(first, Cell)
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
    net = network().to(memory_format=torch.channels_last)
    x = torch.randn(4, 1, 16, 16).contiguous(memory_format=torch.channels_last)
    layouts = []
    for cell in net.cells:
        cell.register_forward_hook(
            lambda *call: layouts.append(call[2].is_contiguous(memory_format=torch.channels_last))
        )
    net(x, drop_path(0.3))
    assert all(layouts)
