import itertools
from collections import Counter

import numpy as np
import pytest

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge
from workers.cells.bases import named
from workers.cells.connections import sample_connections
from workers.cells.enumeration import Census, census
from workers.cells.topology import dead_nodes, used_inputs

# Exact counts of four nodes.
FOUR = """1,3 4; 1,4 80; 1,5 60; 1.5,3 48; 1.5,4 640; 1.5,5 368; 2,3 528; 2,4 1984; 2,5 576;
2.5,3 1792; 2.5,4 2560; 2.5,5 256; 3,3 2688; 3,4 1024; 3.5,3 1536; 4,2 256"""
# Shares of five nodes, all concatenated, and with AmoebaNet's concat and dead nodes dropped.
FIVE = """1.5,3 .00012; 1.5,4 .0119; 1.5,5 .0196; 1.5,6 .0054; 2,4 .058; 2,5 .057; 2,6 .0106;
2.5,3 .0194; 2.5,4 .142; 2.5,5 .0764; 3,3 .0591; 3,4 .1736; 3,5 .0459; 3.5,3 .0889; 3.5,4 .0988;
3.5,5 .0099; 4,3 .0642; 4,4 .0198; 4.5,3 .0198; 5,2 .0020"""
AMOEBANET = """1.5,3 .0034; 1.5,5 .0277; 1.5,6 .0054; 2,4 .101; 2,6 .0106; 2.5,3 .0662; 2.5,5 .0722;
3,3 .0851; 3.5,3 .0578; 3.5,4 .0533"""


def table(text: str) -> dict[tuple[float, int], str]:
    rows = (entry.replace(",", " ").split() for entry in text.split(";"))
    return {(float(width), int(depth)): value for width, depth, value in rows}


def test_four_nodes_exactly():
    counted = census(4)
    assert counted.patterns == 120**2
    assert counted.shapes == {shape: int(count) for shape, count in table(FOUR).items()}
    assert round(counted.mean_width, 3) == 2.567
    assert round(counted.mean_depth, 3) == 3.594
    assert counted.with_unused_input / counted.patterns == 0.08


@pytest.mark.parametrize(("concat", "shares"), [(None, FIVE), ((4, 5, 6), AMOEBANET)])
def test_five_nodes_to_the_printed_digits(concat: tuple[int, ...] | None, shares: str):
    counted = census(5, concat)
    assert counted.patterns == 720**2 == sum(counted.shapes.values())
    for shape, printed in table(shares).items():
        assert f"{counted.share(*shape):.{len(printed) - 1}f}".lstrip("0") == printed


def test_means_dead_nodes_and_unused_inputs_of_five_nodes():
    whole, amoebanet = census(5), census(5, (4, 5, 6))
    assert (round(whole.mean_width, 3), round(whole.mean_depth, 3)) == (2.9, 4.006)
    assert whole.with_dead_nodes == 0
    assert round(whole.with_unused_input / whole.patterns, 3) == 0.056
    assert round(amoebanet.with_dead_nodes / amoebanet.patterns, 3) == 0.343
    assert round(amoebanet.with_unused_input / amoebanet.patterns, 3) == 0.077


@pytest.mark.parametrize(
    ("nodes", "pairs", "patterns"),
    [
        (4, "unordered", 2_700),
        (5, "unordered", 56_700),
        (4, "distinct", 2_880),
        (5, "distinct", 86_400),
        (1, "ordered", 4),
    ],
)
def test_number_of_patterns(nodes: int, pairs: str, patterns: int):
    assert census(nodes, pairs=pairs).patterns == patterns


def test_tails_of_observation_3_1():
    def tail(nodes: int, width: float) -> float:
        return float(f"{census(nodes).tail(width):.2g}")

    # Normal cells: NASNet and ENAS, AmoebaNet, DARTS, SNAS; then reduction cells.
    assert (tail(5, 5), tail(5, 4), tail(4, 3.5), tail(4, 4)) == (0.002, 0.11, 0.12, 0.018)
    assert (tail(5, 3.5), tail(4, 2.5)) == (0.3, 0.7)
    assert census(4).tail(0) == 1
    assert census(4).tail(4.5) == 0


@pytest.mark.parametrize("pairs", ["ordered", "unordered", "distinct"])
@pytest.mark.parametrize("concat", [None, (4,), (3, 4)])
def test_three_nodes_against_the_graphs_themselves(concat: tuple[int, ...] | None, pairs: str):
    wanted = {
        "ordered": lambda a, b: True,
        "unordered": lambda a, b: a <= b,
        "distinct": lambda a, b: a != b,
    }[pairs]
    choices = [
        [pair for pair in itertools.product(range(k), repeat=2) if wanted(*pair)] for k in (2, 3, 4)
    ]
    cells = [
        Cell(
            tuple(tuple(Edge("skip_connect", source) for source in pair) for pair in picked),
            concat or (2, 3, 4),
        )
        for picked in itertools.product(*choices)
    ]
    assert census(3, concat, pairs) == Census(
        patterns=len(cells),
        shapes=dict(Counter((c.width, c.depth) for c in cells)),
        with_dead_nodes=sum(bool(dead_nodes(c)) for c in cells),
        with_unused_input=sum(len(used_inputs(c)) < 2 for c in cells),
    )


def test_the_sampler_draws_shapes_as_often_as_they_are():
    counted, draws = census(4), 4000
    sampled = [sample_connections(named("DARTS"), seed) for seed in range(1, draws + 1)]
    drawn = Counter((g.width, g.depth) for g in sampled)
    shares = np.array([counted.share(*shape) for shape in counted.shapes])
    counts = np.array([drawn[shape] for shape in counted.shapes])
    errors = np.sqrt(draws * shares * (1 - shares))
    assert counts.sum() == draws
    assert (abs(counts - draws * shares) < 5 * errors + 1).all()


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((0,), "use 1 to 6"),
        ((7,), "use 1 to 6"),
        ((4, ()), "concat"),
        ((4, (6,)), "from 2 to 5"),
        ((4, None, "any"), "ordered"),
    ],
)
def test_what_cannot_be_counted_is_refused(arguments: tuple, hint: str):
    with pytest.raises(SpecError, match=hint):
        census(*arguments)
