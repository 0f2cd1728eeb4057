import pytest
import torch
import torch.nn.functional as F

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.cell import Cell as CellModule
from workers.network.network import Network, build_network
from workers.network.operations import FactorizedReduce

SMALL = NetworkSpec(cells=5, channels=4)


def small(name: str = "DARTS", seed: int = 0) -> Network:
    return build_network(named(name), SMALL, in_channels=1, classes=10, seed=seed)


def parameters(name: str, classes: int = 10) -> int:
    with torch.device("meta"):
        network = Network(named(name), channels=36, cells=20, classes=classes)
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("NASNet", 3_830_950),
        ("AmoebaNet", 3_145_078),
        ("ENAS", 3_859_894),
        ("DARTS", 3_349_342),
        ("DARTS_OPS1", 3_370_078),
        ("DARTS_OPS2", 2_836_558),
        ("DARTS_OPS3", 2_699_614),
        ("DARTS_OPS4", 2_983_870),
        ("DARTS_OPS5", 3_190_582),
        ("DARTS_CONN1", 3_402_046),
        ("DARTS_CONN2", 3_428_398),
        ("DARTS_CONN3", 3_375_694),
        ("DARTS_CONN4", 3_402_046),
    ],
)
def test_parameters_equal_the_published_models(name: str, count: int):
    assert parameters(name) == count


@pytest.mark.parametrize("name", ["NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS"])
@pytest.mark.parametrize("image", [16, 32, 64])
def test_logits_are_finite_at_every_image_size(name: str, image: int):
    network = small(name)
    for mode in (True, False):
        logits = network.train(mode)(torch.randn(2, 1, image, image))
        assert logits.shape == (2, 10)
        assert logits.isfinite().all()


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


@pytest.mark.parametrize("name", ["AmoebaNet_ADAPT", "ENAS_ADAPT", "DARTS_CONN3", "NASNet"])
def test_gradients_reach_live_parameters_and_no_dead_one(name: str):
    network = small(name)
    F.cross_entropy(network(torch.randn(4, 1, 16, 16)), torch.arange(4)).backward()
    for index, cell in enumerate(network.cells):
        assert isinstance(cell, CellModule)
        dead = {f"preprocess{node}" for node in (0, 1) if node not in cell.live}
        dead |= {f"operations.{i}" for i, (_, to) in enumerate(cell.ends) if to not in cell.live}
        for key, parameter in cell.named_parameters():
            is_dead = any(key.startswith(f"{prefix}.") for prefix in dead)
            assert (parameter.grad is None) == is_dead, f"cells.{index}.{key}"
    assert all(parameter.grad is not None for parameter in network.stem.parameters())


def test_channels_last_changes_no_more_than_rounding():
    network, x = small("ENAS").eval(), torch.randn(3, 1, 16, 16)
    plain = network(x)
    network.to(memory_format=torch.channels_last)
    torch.testing.assert_close(network(x.to(memory_format=torch.channels_last)), plain)


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
