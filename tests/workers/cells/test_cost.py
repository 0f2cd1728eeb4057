import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from results_schema.errors import SpecError
from results_schema.genotype import INPUTS, OPERATIONS, Cell, Edge, Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, NAMES, named
from workers.cells.cost import Cost, count
from workers.network.network import build_network

# What is counted as live is measured by its gradient, and noise passes none.
PASSING = [op for op in OPERATIONS if op != "noise"]

FULL = NetworkSpec(cells=20, channels=36)

# Table 1: original and adapted, with auxiliary head, on 10, 100 and 200 classes.
TABLE_1 = {
    "NASNet": (4_288_944, 4_423_044, 4_572_044),
    "NASNet_ADAPT": (4_315_296, 4_449_396, 4_598_396),
    "AmoebaNet": (3_603_072, 3_711_252, 3_831_452),
    "AmoebaNet_ADAPT": (3_603_072, 3_711_252, 3_831_452),
    "ENAS": (4_317_888, 4_451_988, 4_600_988),
    "ENAS_ADAPT": (4_317_888, 4_451_988, 4_600_988),
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
    name: str, classes: int = 10, *, auxiliary: bool = False, image: int = 32, stem_stride: int = 1
):
    return count(
        named(name),
        FULL,
        in_channels=3,
        classes=classes,
        image=image,
        stem_stride=stem_stride,
        auxiliary=auxiliary,
    )


@pytest.mark.parametrize("name", TABLE_1)
def test_table_1(name: str):
    counts = tuple(
        full(name, classes, auxiliary=True, image=image, stem_stride=stride).parameters
        for classes, image, stride in ((10, 32, 1), (100, 32, 1), (200, 64, 2))
    )
    assert counts == TABLE_1[name]


@pytest.mark.parametrize("name", LIVE)
def test_live_parameters_of_the_adapted_cells(name: str):
    assert full(name, auxiliary=True).live_parameters == LIVE[name]


def test_an_input_that_no_node_takes_leaves_its_preprocessing_dead():
    cost = full("DARTS_CONN3")
    assert cost.parameters == 3_375_694
    assert cost.parameters - cost.live_parameters == 601_776


def test_multiply_adds_of_darts():
    assert round(full("DARTS").multiply_adds / 1e6, 1) == 528.4


def test_a_stem_of_stride_2_costs_what_an_image_half_as_large_does():
    assert full("DARTS", image=64, stem_stride=2) == full("DARTS", image=32)


def measure(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int,
    classes: int,
    image: int,
    stem_stride: int,
    auxiliary: bool,
) -> Cost:
    """Counts by running the network forward and backward."""
    network = build_network(
        genotype,
        size,
        in_channels=in_channels,
        classes=classes,
        seed=0,
        stem_stride=stem_stride,
        auxiliary=auxiliary,
    )
    multiply_adds = 0

    def add(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal multiply_adds
        assert isinstance(module, nn.Conv2d | nn.Linear)
        pixels = output[0, 0].numel() if isinstance(module, nn.Conv2d) else 1
        multiply_adds += module.weight.numel() * pixels

    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(add)
    x = torch.zeros(2, in_channels, image, image)
    outputs = network.forward_with_auxiliary(x) if auxiliary else (network(x),)
    torch.cat(outputs).sum().backward()
    parameters = list(network.parameters())
    live = sum(p.numel() for p in parameters if p.grad is not None)
    return Cost(sum(p.numel() for p in parameters), live, multiply_adds)


def assert_counted_right(
    genotype: Genotype,
    size: NetworkSpec,
    *,
    in_channels: int = 3,
    classes: int = 10,
    image: int = 32,
    stem_stride: int = 1,
    auxiliary: bool = False,
) -> None:
    counted, measured = (
        how(
            genotype,
            size,
            in_channels=in_channels,
            classes=classes,
            image=image,
            stem_stride=stem_stride,
            auxiliary=auxiliary,
        )
        for how in (count, measure)
    )
    assert counted == measured


@pytest.mark.parametrize("name", NAMES)
def test_the_count_is_that_of_the_network(name: str):
    assert_counted_right(named(name), NetworkSpec(7, 4), auxiliary=True)


def test_the_count_is_that_of_the_full_network():
    assert_counted_right(
        named("ENAS_ADAPT"), FULL, classes=200, image=64, stem_stride=2, auxiliary=True
    )


@st.composite
def cells(draw: st.DrawFn):
    """Cells of any operations, in-degrees and concats; each node has an edge."""
    nodes = tuple(
        tuple(
            draw(
                st.lists(
                    st.builds(Edge, st.sampled_from(PASSING), st.integers(0, node - 1)),
                    min_size=1,
                    max_size=3,
                )
            )
        )
        for node in range(INPUTS, INPUTS + draw(st.integers(1, 4)))
    )
    numbers = range(INPUTS, INPUTS + len(nodes))
    concat = draw(st.lists(st.sampled_from(numbers), min_size=1, unique=True))
    return Cell(nodes, tuple(concat))


@settings(max_examples=15)
@given(st.builds(Genotype, cells(), cells()), st.integers(3, 6), st.booleans())
def test_the_count_is_that_of_any_network(genotype: Genotype, depth: int, auxiliary: bool):
    assert_counted_right(
        genotype, NetworkSpec(depth, 4), in_channels=1, classes=3, auxiliary=auxiliary
    )


def test_cells_that_take_only_the_output_before_last_leave_every_other_cell_dead():
    only_0 = Cell.from_pairs([("sep_conv_3x3", 0), ("skip_connect", 0)], [2])
    genotype, size = Genotype(only_0, named("DARTS").reduce), NetworkSpec(6, 4)
    cost = count(genotype, size, in_channels=3, classes=10, image=32)
    assert cost.live_parameters < cost.parameters / 2
    assert_counted_right(genotype, size)
    assert_counted_right(genotype, size, auxiliary=True)


@pytest.mark.parametrize(
    ("image", "stem_stride", "auxiliary", "message"),
    [
        (30, 1, False, "30×30 pixels cannot be halved"),
        (36, 2, False, "36×36 pixels cannot be halved"),
        (16, 1, True, "a map of 4×4, not 8×8"),
        (64, 1, True, "a map of 16×16, not 8×8"),
    ],
)
def test_images_that_do_not_fit_are_refused(
    image: int, stem_stride: int, auxiliary: bool, message: str
):
    with pytest.raises(SpecError, match=message) as caught:
        full("DARTS", image=image, stem_stride=stem_stride, auxiliary=auxiliary)
    assert caught.value.fix


@pytest.mark.parametrize("name", BASES)
def test_table_3_counts_no_auxiliary_head(name: str):
    table = {
        "NASNet": 3_830_950,
        "AmoebaNet": 3_145_078,
        "ENAS": 3_859_894,
        "DARTS": 3_349_342,
        "SNAS": 2_661_382,
    }
    assert full(name).parameters == table[name]
