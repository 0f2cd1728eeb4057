import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import NAMES, named
from workers.cells.connections import sample_connections, with_sources


def sources(cell: Cell) -> list[int]:
    return [edge.source for node in cell.nodes for edge in node]


@pytest.mark.parametrize(
    ("seed", "normal", "reduce"),
    [
        (1, [1, 0, 1, 0, 1, 3, 4, 2, 5, 4], [1, 0, 1, 0, 0, 1, 1, 4, 2, 3]),
        (2, [0, 1, 2, 0, 1, 3, 2, 4, 5, 4], [1, 0, 2, 2, 3, 1, 4, 4, 3, 2]),
    ],
)
def test_known_draws_of_the_published_code(seed: int, normal: list[int], reduce: list[int]):
    drawn = sample_connections(named("ENAS"), seed)
    assert (sources(drawn.normal), sources(drawn.reduce)) == (normal, reduce)
    # A stream is the same whatever the number of nodes, so that a small cell is a prefix.
    small = sample_connections(named("DARTS"), seed)
    assert (sources(small.normal), sources(small.reduce)) == (normal[:8], reduce[:8])


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
def test_any_draw_is_a_sound_genotype_that_keeps_all_but_the_sources(name: str, seed: int):
    base = named(name)
    drawn = sample_connections(base, seed)
    for cell, kept in ((drawn.normal, base.normal), (drawn.reduce, base.reduce)):
        assert cell.concat == kept.concat
        assert [[e.op for e in node] for node in cell.nodes] == [
            [e.op for e in node] for node in kept.nodes
        ]
        assert all(e.source < n for n, node in enumerate(cell.nodes, 2) for e in node)
    trial = TrialSpec(drawn, "digits", 1, NetworkSpec(), Recipe(), 0.025, 0)
    again = TrialSpec.from_json(trial.to_json())
    assert again.genotype == drawn
    assert again.trial_id == trial.trial_id


def test_cells_of_unequal_size_and_in_degree():
    few = Cell(((Edge("skip_connect", 0),), ()), (2, 3))
    many = Cell(((Edge("skip_connect", 0),) * 3, (Edge("skip_connect", 2),)), (3,))
    drawn = sample_connections(Genotype(few, many), 3)
    assert [len(node) for node in drawn.normal.nodes] == [1, 0]
    assert [len(node) for node in drawn.reduce.nodes] == [3, 1]


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True, "1", None])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: object):
    with pytest.raises(SpecError, match="seed is"):
        sample_connections(named("DARTS"), seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [np.int64, float, bool])
def test_a_source_of_another_type_is_refused_and_spoils_no_later_cell(wrong: type):
    base = named("DARTS")
    sources = [
        [edge.source for node in cell.nodes for edge in node] for cell in (base.normal, base.reduce)
    ]
    assert with_sources(base, *sources) == base
    with pytest.raises(SpecError, match="does not come before the node"):
        with_sources(base, [wrong(source) for source in sources[0]], sources[1])
    assert with_sources(base, *sources) == base
