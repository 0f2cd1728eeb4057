import pytest
from hypothesis import given
from hypothesis import strategies as st

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Genotype
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import BASES, NAMES, named
from workers.cells.cost import count
from workers.cells.operations import CANDIDATES, operation_variants, sample_operations


def draws(cell: Cell) -> list[int]:
    return [CANDIDATES.index(edge.op) for node in cell.nodes for edge in node]


@pytest.mark.parametrize(
    ("base", "normal", "reduce"),
    [
        ("DARTS", [5, 3, 4, 0, 1, 3, 5, 0], [0, 1, 4, 5, 4, 6, 1, 2]),
        ("ENAS", [5, 3, 4, 0, 1, 3, 5, 0, 0, 1], [4, 5, 4, 6, 1, 2, 4, 6, 5, 2]),
    ],
)
def test_known_draws_of_the_published_code(base: str, normal: list[int], reduce: list[int]):
    drawn = sample_operations(named(base), 1)
    assert (draws(drawn.normal), draws(drawn.reduce)) == (normal, reduce)


@given(st.sampled_from(NAMES), st.integers(0, 2**32 - 1))
def test_any_draw_keeps_the_connections_and_survives_json(name: str, seed: int):
    base = named(name)
    drawn = sample_operations(base, seed)
    for cell, kept in ((drawn.normal, base.normal), (drawn.reduce, base.reduce)):
        assert cell.concat == kept.concat
        assert [[e.source for e in node] for node in cell.nodes] == [
            [e.source for e in node] for node in kept.nodes
        ]
    trial = TrialSpec(drawn, "digits", 1, NetworkSpec(), Recipe(), 0.025, 0)
    assert TrialSpec.from_json(trial.to_json()).trial_id == trial.trial_id


# Table 3 in units of 10**6, C1 to C10; its 3.42 for C9 of AmoebaNet swaps two digits of 3.24.
_NASNET = "3.45 3.19 2.98 2.70 3.67 3.03 3.85 3.26 3.81 3.29"
TABLE_3 = {
    "DARTS": "3.37 2.84 2.70 2.98 3.19 2.43 3.49 2.88 3.31 2.81",
    "ENAS": _NASNET,
    "AmoebaNet": "2.86 2.62 2.41 2.10 3.10 2.46 3.28 2.69 3.24 2.75",
    "NASNet": _NASNET,
}


@pytest.mark.parametrize("base", TABLE_3)
def test_parameters_are_those_of_table_3(base: str):
    costs = [
        count(v.genotype, NetworkSpec(), in_channels=3, classes=10, image=32).parameters
        for v in operation_variants(base, "paper10")
    ]
    assert " ".join(f"{cost / 1e6:.2f}" for cost in costs) == TABLE_3[base]


def test_nasnet_and_enas_share_operations():
    for a, b in zip(
        operation_variants("NASNet", "paper10"), operation_variants("ENAS", "paper10"), strict=True
    ):
        assert draws(a.genotype.normal) == draws(b.genotype.normal)


def test_table_3_takes_published_cells_of_darts_before_seeds():
    variants = operation_variants("DARTS", "paper10")
    assert [v.name for v in variants] == [f"OPS{i}" for i in range(1, 6)] + [
        f"seed {i}" for i in range(6, 11)
    ]
    assert [v.index for v in variants] == list(range(1, 11))
    assert variants[0].genotype == named("DARTS_OPS1")
    assert variants[9].genotype == sample_operations(named("DARTS"), 10)


@pytest.mark.parametrize("base", BASES)
def test_legacy_is_seeds_in_order(base: str):
    variants = operation_variants(base, "legacy")
    assert [v.name for v in variants] == [f"seed {i}" for i in range(1, 11)]
    assert [v.genotype for v in variants] == [
        sample_operations(named(base), i) for i in range(1, 11)
    ]


def test_a_genotype_without_a_name_has_legacy_variants_alone():
    base = Genotype(named("DARTS").normal, named("ENAS").normal)
    assert len(operation_variants(base, "legacy")) == 10
    with pytest.raises(SpecError, match="use legacy"):
        operation_variants(base, "paper10")


@pytest.mark.parametrize(
    ("base", "mode", "hint"),
    [
        ("SNAS", "paper10", "use legacy"),
        ("ENAS", "paper13", "use legacy or paper10"),
        ("Enas", "paper10", "did you mean ENAS"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(base: str, mode: str, hint: str):
    with pytest.raises(SpecError, match=hint):
        operation_variants(base, mode)


@pytest.mark.parametrize("seed", [-1, 2**32, 0.5])
def test_a_seed_that_numpy_does_not_take_is_refused(seed: object):
    with pytest.raises(SpecError, match="seed is"):
        sample_operations(named("DARTS"), seed)  # type: ignore[arg-type]
