from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, Cell, Edge, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named
from workers.cells.cost import Cost, check_batches, count
from workers.cells.operations import OPERATIONS
from workers.network.network import build_network

# What is counted as live is measured by its gradient, and noise passes none.
PASSING = [op for op in OPERATIONS if op != "noise"]

FULL = NetworkSpec(cells=20, channels=36)

# Table 1: original and adapted, with auxiliary head, on 10, 100 and 200 classes.
TABLE_1 = {
    "NASNet": (4_288_944, 4_423_044, 4_572_044),
    "NASNet_ADAPT": (4_315_296, 4_449_396, 4_598_396),
    **dict.fromkeys(("AmoebaNet", "AmoebaNet_ADAPT"), (3_603_072, 3_711_252, 3_831_452)),
    **dict.fromkeys(("ENAS", "ENAS_ADAPT"), (4_317_888, 4_451_988, 4_600_988)),
    "DARTS": (3_825_768, 3_946_908, 4_081_508),
    "DARTS_ADAPT": (3_904_824, 4_025_964, 4_160_564),
    "SNAS": (3_137_808, 3_258_948, 3_393_548),
    "SNAS_ADAPT": (3_190_512, 3_311_652, 3_446_252),
}
# Parameters without those of dead operations, CIFAR-10, with auxiliary head.
LIVE = {
    "NASNet_ADAPT": 4_104_048,
    "AmoebaNet_ADAPT": 2_778_384,
    "ENAS_ADAPT": 4_197_792,
    "DARTS_ADAPT": 3_904_824,
    "SNAS_ADAPT": 3_190_512,
}


def full(
    name: str, classes: int = 10, image: int = 32, stride: int = 1, *, auxiliary: bool = False
) -> Cost:
    size = replace(FULL, stem_stride=stride)
    return count(
        named(name), size, in_channels=3, classes=classes, image=image, auxiliary=auxiliary
    )


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name: str):
    sizes = ((10, 32, 1), (100, 32, 1), (200, 64, 2))
    assert tuple(full(name, *size, auxiliary=True).parameters for size in sizes) == TABLE_1[name]


def test_table_3_counts_no_auxiliary_head():
    found = [full(name).parameters for name in BASES]  # NASNet, AmoebaNet, ENAS, DARTS, SNAS
    assert found == [3_830_950, 3_145_078, 3_859_894, 3_349_342, 2_661_382]


def test_parameters_of_dead_operations_and_inputs_are_not_live():
    assert {name: full(name, auxiliary=True).live_parameters for name in LIVE} == LIVE
    cost = full("DARTS_CONN3")
    assert cost.parameters == 3_375_694
    assert cost.parameters - cost.live_parameters == 601_776


def test_multiply_adds_of_darts():
    assert round(full("DARTS").multiply_adds / 1e6, 1) == 528.4
    assert full("DARTS", image=64, stride=2) == full("DARTS")


def measure(
    genotype: Genotype, size: NetworkSpec, *, image: int, auxiliary: bool = False, **options: Any
) -> Cost:
    """Counts by running the network forward and backward."""
    given = {"seed": 0, "auxiliary": auxiliary}
    network = build_network(genotype, size, **given, **options)
    multiply_adds = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal multiply_adds
        assert isinstance(module, nn.Conv2d | nn.Linear)
        pixels = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        multiply_adds += module.weight.numel() * pixels

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    x = torch.zeros(2, options["in_channels"], image, image)
    outputs = network.forward_with_auxiliary(x) if auxiliary else (network(x),)
    torch.cat(outputs).sum().backward()
    parameters = list(network.parameters())
    live = sum(p.numel() for p in parameters if p.grad is not None)
    return Cost(sum(p.numel() for p in parameters), live, multiply_adds)


def assert_counted_right(genotype: Genotype, size: NetworkSpec, **options: Any) -> None:
    options = {"in_channels": 3, "classes": 10, "image": 32} | options
    assert count(genotype, size, **options) == measure(genotype, size, **options)


@pytest.mark.parametrize("name", [*BASES, "ENAS_ADAPT", "AmoebaNet_ADAPT"])
def test_the_count_is_that_of_the_network(name: str):
    assert_counted_right(named(name), NetworkSpec(4, 4), auxiliary=True)
    assert_counted_right(named(name), NetworkSpec(4, 4, stem_stride=2), classes=20, image=64)


@st.composite
def cells(draw: st.DrawFn):
    """Cells of any operations, in-degrees and concats; each node has an edge."""
    nodes = []
    for node in range(INPUTS, INPUTS + draw(st.integers(1, 4))):
        edge = st.builds(Edge, st.sampled_from(PASSING), st.integers(0, node - 1))
        nodes.append(tuple(draw(st.lists(edge, min_size=1, max_size=3))))
    numbers = st.sampled_from(range(INPUTS, INPUTS + len(nodes)))
    return Cell(tuple(nodes), tuple(draw(st.lists(numbers, min_size=1, unique=True))))


@settings(max_examples=10)
@given(st.builds(Genotype, cells(), cells()), st.integers(3, 5), st.booleans())
def test_the_count_is_that_of_any_network(genotype: Genotype, depth: int, auxiliary: bool):
    size = NetworkSpec(depth, 4)
    assert_counted_right(genotype, size, in_channels=1, classes=3, auxiliary=auxiliary)


def test_cells_that_take_only_the_output_before_last_leave_every_other_cell_dead():
    only_0 = Cell.from_json({"nodes": [[("sep_conv_3x3", 0), ("skip_connect", 0)]], "concat": [2]})
    genotype, size = Genotype(only_0, named("DARTS").reduce), NetworkSpec(6, 4)
    cost = count(genotype, size, in_channels=3, classes=10, image=32)
    assert cost.live_parameters < cost.parameters / 2
    for auxiliary in (False, True):
        assert_counted_right(genotype, size, auxiliary=auxiliary)


@pytest.mark.parametrize(
    ("image", "stride", "auxiliary", "message"),
    [
        (30, 1, False, "30×30 pixels cannot be halved"),
        (36, 2, False, "36×36 pixels cannot be halved"),
        (16, 1, True, "a map of 4×4, not 8×8"),
        (64, 1, True, "a map of 16×16, not 8×8"),
    ],
)
def test_images_that_do_not_fit_are_refused(image: int, stride: int, auxiliary: bool, message: str):
    with pytest.raises(SpecError, match=message) as caught:
        full("DARTS", image=image, stride=stride, auxiliary=auxiliary)
    assert caught.value.fix


@pytest.mark.parametrize(
    ("images", "batch", "side", "auxiliary"),
    [(10, 3, 4, False), (10, 3, 32, True), (5, 1, 4, False), (1, 8, 4, False)],
)
def test_a_step_of_one_image_whose_map_ends_in_one_pixel_is_refused(images, batch, side, auxiliary):
    with pytest.raises(SpecError, match=f"batch_size of {batch}"):
        check_batches(images, batch, side, auxiliary=auxiliary)
    check_batches(images, batch, 32, auxiliary=False)
    check_batches(images * 2, 2, side, auxiliary=auxiliary)
