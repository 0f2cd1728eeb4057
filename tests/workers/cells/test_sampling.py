"""Draws are the published code's; samples have the shapes and constraints asked for."""

import math
import re
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from workers.cells.bases import NAMES, named
from workers.cells.sampling import (
    CANDIDATES,
    Constraints,
    Profile,
    Sampling,
    Stratified,
    Uniform,
    draw_sources,
    sample_connections,
    sample_operations,
)
from workers.cells.topology import ConnectionBatch, dead_nodes, used_inputs
from workers.cells.variants import Variant, connection_variants, table_2


def sources(cell: Cell) -> list[int]:
    return [edge.source for node in cell.nodes for edge in node]


@given(st.integers(0, 2**32 - 1))
def test_draws_are_those_of_choice_with_growing_states(seed: int):
    stream, states, normal, reduce = np.random.RandomState(seed), [0, 1], [], []
    for edge in range(10):
        normal.append(int(stream.choice(states, 1)[0]))
        reduce.append(int(stream.choice(states, 1)[0]))
        if edge % 2:
            states.append(len(states))
    drawn = sample_connections(named("AmoebaNet"), seed)
    assert (sources(drawn.normal), sources(drawn.reduce)) == (normal, reduce)


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_a_draw_is_a_sound_genotype_that_keeps_all_else(name: str, seed: int):
    base = named(name)
    connections, operations = sample_connections(base, seed), sample_operations(base, seed)
    for drawn in (connections, operations):
        assert Genotype.from_json(drawn.to_json()) == drawn
        assert drawn.normal.concat == base.normal.concat
        assert drawn.reduce.concat == base.reduce.concat
    for part, kept in (("op", connections), ("source", operations)):
        for cell, own in ((kept.normal, base.normal), (kept.reduce, base.reduce)):
            assert [[getattr(e, part) for e in node] for node in cell.nodes] == [
                [getattr(e, part) for e in node] for node in own.nodes
            ]
    for cell in (connections.normal, connections.reduce):
        assert all(e.source < n for n, node in enumerate(cell.nodes, 2) for e in node)


def test_cells_of_unequal_size_and_in_degree():
    few = Cell(((Edge("skip_connect", 0),), ()), (2, 3))
    many = Cell(((Edge("skip_connect", 0),) * 3, (Edge("skip_connect", 2),)), (3,))
    drawn = sample_connections(Genotype(few, many), 3)
    assert [len(node) for node in drawn.normal.nodes] == [1, 0]
    assert [len(node) for node in drawn.reduce.nodes] == [3, 1]


@pytest.mark.parametrize("sample", [sample_connections, sample_operations])
@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "1", None])
def test_a_seed_that_numpy_does_not_take_is_refused(sample: Any, seed: object):
    with pytest.raises(SpecError, match="seed is"):
        sample(named("DARTS"), seed)


def draws(cell: Cell) -> list[int]:
    return [CANDIDATES.index(edge.op) for node in cell.nodes for edge in node]


@pytest.mark.parametrize(
    ("base", "normal", "reduce"),
    [
        ("DARTS", [5, 3, 4, 0, 1, 3, 5, 0], [0, 1, 4, 5, 4, 6, 1, 2]),
        ("ENAS", [5, 3, 4, 0, 1, 3, 5, 0, 0, 1], [4, 5, 4, 6, 1, 2, 4, 6, 5, 2]),
    ],
)
def test_known_operations_of_the_published_code(base: str, normal: list[int], reduce: list[int]):
    drawn = sample_operations(named(base), 1)
    assert (draws(drawn.normal), draws(drawn.reduce)) == (normal, reduce)


PURE_SEEDS = {
    "DARTS": [14, 34, 40, 1, 5, 6, 19, 20, 3, 7, 9, 4, 10],
    "ENAS": [23, 125, 2, 188, 1, 8, 3, 20, 120, 5, 22, 4, 7],
    "NASNet": [23, 125, 2, 188, 1, 8, 3, 20, 120, 5, 22, 4, 7],
    "AmoebaNet": [23, 8, 125, 4, 2, 188, 3, 1, 9, 10, 7, 5, 57],
}
SAMPLES: list[Sampling] = [
    Uniform(n=30, seed=3),
    Stratified(n=2, seed=3, widths=(2, 2.5, 3)),
    Profile(slots=((3.0, 3), (2.5, 4), (3.0, 3))),
]


def seeds(variants: list[Variant]) -> list[int]:
    return [int(v.name.removeprefix("seed ")) for v in variants]


def patterns(variants: list[Variant]) -> list[list[list[int]]]:
    return [
        [sorted(edge.source for edge in node) for node in v.genotype.normal.nodes] for v in variants
    ]


@pytest.mark.parametrize("base", PURE_SEEDS)
def test_profile_of_table_2(base: str):
    variants = connection_variants(base, "profile")
    assert seeds(variants) == PURE_SEEDS[base]
    cells = [v.genotype.normal for v in variants]
    assert tuple((cell.width, cell.depth) for cell in cells) == table_2(base)


def test_a_rare_slot_is_found_far_out():
    # Of five nodes all concatenated, one pattern in 8,000 is 1.5c wide and 3 deep.
    assert seeds(connection_variants("ENAS", Profile(slots=((1.5, 3),)))) == [3479]


@pytest.mark.parametrize("how", SAMPLES)
def test_a_variant_is_identified_by_its_seed_and_repeats_nothing(how: Sampling):
    variants = connection_variants("DARTS", how)
    assert [v.index for v in variants] == list(range(1, len(variants) + 1))
    for variant, seed in zip(variants, seeds(variants), strict=True):
        assert variant.genotype == sample_connections(named("DARTS"), seed)
    base = Variant(0, "DARTS", named("DARTS"))
    found = patterns([base, *variants])
    assert all(pattern not in found[:i] for i, pattern in enumerate(found))
    assert connection_variants("DARTS", how) == variants
    shapes = [(v.genotype.width, -v.genotype.depth) for v in variants]
    assert isinstance(how, Profile) or shapes == sorted(shapes), "ordered like Table 2"


def test_samples_are_the_same_on_every_machine():
    uniform = connection_variants("DARTS", Uniform(n=3, seed=1))
    assert seeds(uniform) == [1791095845, 3093770124, 4282876139]
    stratified = connection_variants("DARTS", Stratified(seed=1, widths=(1.5, 3)))
    assert seeds(stratified) == [4290846341, 4282876139]
    slots: Any = ((3, 3), [2, 4.0])
    profile = connection_variants("DARTS", Profile(slots=slots, first_seed=1000))
    assert min(seeds(profile)) >= 1000


def test_stratified_has_n_of_each_width_of_the_base_s_space():
    widths = [v.genotype.normal.width for v in connection_variants("ENAS", Stratified(n=2))]
    assert widths == [w for w in (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5) for _ in range(2)]
    narrow = connection_variants("AmoebaNet", Stratified(distinct_sources=True))
    # A second node with two sources of its own takes at least one input.
    assert [v.genotype.normal.width for v in narrow] == [1.5, 2, 2.5, 3, 3.5, 4]


@pytest.mark.parametrize("base", ["AmoebaNet", "DARTS"])
def test_constraints_hold_for_both_cells(base: str):
    strict = Uniform(n=8, distinct_sources=True, all_inputs_used=True, no_dead_nodes=True)
    for variant in connection_variants(base, strict):
        for cell in (variant.genotype.normal, variant.genotype.reduce):
            assert not dead_nodes(cell)
            assert used_inputs(cell) == (0, 1)
            assert all(len({e.source for e in node}) == len(node) for node in cell.nodes)


def allowed(constraints: Constraints, genotype: Genotype) -> bool:
    cells = (genotype.normal, genotype.reduce)
    return all(constraints.allow(ConnectionBatch.of(cell)).item() for cell in cells)


def test_each_constraint_alone():
    pair = (Edge("skip_connect", 1), Edge("skip_connect", 1))
    good = Cell(((Edge("skip_connect", 0), Edge("skip_connect", 1)),) * 2, (2, 3))
    repeated_and_one_sided = Genotype(good, Cell((pair,), (2,)))
    dead = Genotype(Cell(good.nodes, (2,)), good)
    assert allowed(Constraints(), repeated_and_one_sided)
    assert not allowed(Constraints(distinct_sources=True), repeated_and_one_sided)
    assert not allowed(Constraints(all_inputs_used=True), repeated_and_one_sided)
    assert allowed(Constraints(no_dead_nodes=True), repeated_and_one_sided)
    assert not allowed(Constraints(no_dead_nodes=True), dead)


def test_a_genotype_without_a_name_can_be_sampled():
    cell = Cell((((Edge("sep_conv_3x3", 0),)), (Edge("skip_connect", 0),) * 3), (2, 3))
    variants = connection_variants(Genotype(cell, cell), Uniform(n=3))
    assert [[len(n) for n in v.genotype.normal.nodes] for v in variants] == [[1, 3]] * 3
    with pytest.raises(SpecError, match="name the widths"):
        connection_variants(Genotype(cell, cell), "stratified")
    with pytest.raises(SpecError, match="name the slots"):
        connection_variants(Genotype(cell, cell), "profile")
    with pytest.raises(SpecError, match="Table 2 does not have SNAS"):
        connection_variants("SNAS", "profile")


@pytest.mark.parametrize(
    ("how", "slot"),
    [
        (Profile(slots=((3.5, 3), (4.0, 4))), "slot 2 of 2 (width 4c, depth 4)"),
        (Stratified(n=2, widths=(3, 4.5)), "slot 3 of 4 (width 4.5c)"),
        (Uniform(n=501), "slot 449 of 501 (any shape)"),
    ],
)
def test_a_slot_that_cannot_be_filled_is_named(how, slot, monkeypatch):
    monkeypatch.setattr("workers.cells.sampling.SCAN", 500)
    with pytest.raises(SpecError, match=re.escape(slot)):
        connection_variants("DARTS", how)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Profile(slots=((3.5, 3), (4.0, 4))), "of this shape there are 0 cells beside the base"),
        (Profile(slots=((1.0, 3),) * 4), "slot 4 of 4 (width 1c, depth 3) stays empty: of this "),
        (Stratified(n=2, widths=(9,)), "slot 1 of 2 (width 9c) stays empty"),
        (Uniform(n=2700), "slot 2700 of 2700 (any shape) stays empty: of this shape there are 26"),
    ],
)
def test_more_cells_than_there_are_is_refused_undrawn(how, said, monkeypatch):
    monkeypatch.setattr("workers.cells.sampling.draw_sources", None)
    with pytest.raises(SpecError, match=re.escape(said)):
        connection_variants("DARTS", how)


@pytest.mark.parametrize(
    ("kind", "wrong", "said"),
    [
        *((Uniform, {"n": n}, f"n is {n}") for n in (0, -1, True, 2.0, 10_001)),
        (Stratified, {"n": 0}, "n is 0"),
        (Stratified, {"n": 5001, "widths": (2, 2.5)}, "use a whole number from 1 to 5000"),
        (Stratified, {"widths": ("wide",)}, "width 'wide' is no number"),
        (Uniform, {"seed": -1}, "seed is -1"),
        (Profile, {"first_seed": 2**32}, "seed is"),
        (Profile, {"slots": ((2.5, 4.7),)}, "slot (2.5, 4.7) has a depth of 4.7"),
        *(
            (Profile, {"slots": (slot,)}, "is no (width, depth)")
            for slot in ((2.5,), 2.5, ("2.5", 4), (float("nan"), 3), (2, 3, 4), (2, True))
        ),
    ],
)
def test_a_bad_number_is_refused(kind: Any, wrong: dict[str, Any], said: str):
    with pytest.raises(SpecError, match=re.escape(said)):
        kind(**wrong)


def test_connections_have_a_chance_for_each_order_in_which_they_are_drawn():
    pair = (Edge("skip_connect", 0), Edge("skip_connect", 1))
    cell = Cell((pair, pair), (2, 3))
    normal, _ = draw_sources(Genotype(cell, cell), range(3600))
    counts = Counter((tuple(sorted(row[:2])), tuple(sorted(row[2:]))) for row in normal.tolist())
    for connections, count in counts.items():
        orders = math.prod(2 if one != other else 1 for one, other in connections)
        assert count == pytest.approx(100 * orders, abs=4 * (100 * orders) ** 0.5)
    assert len(counts) == 3 * 6
