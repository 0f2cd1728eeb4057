from collections import Counter

import pytest

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import BASES, named
from workers.cells.cost import count
from workers.cells.sampling import sample_operations
from workers.cells.variants import connection_variants, operation_variants, table_2

ENAS = "23 125 2 188 1 8 3 6 5 4 7 9 10"
PAPER13 = {
    "DARTS": "CONN3 CONN4 14 5 8 CONN1 CONN2 6 7 9 12 10 16",
    "ENAS": ENAS,
    "NASNet": ENAS,
    "AmoebaNet": "23 8 125 4 2 188 3 1 9 10 7 5 6",
}


def seeds_and_cells(base: str, mode: str) -> str:
    return " ".join(v.name.removeprefix("seed ") for v in connection_variants(base, mode))


@pytest.mark.parametrize("base", PAPER13)
def test_paper13_order(base: str):
    assert seeds_and_cells(base, "paper13") == PAPER13[base]
    variants = connection_variants(base, "paper13")
    assert [v.index for v in variants] == list(range(1, 14))
    for variant in variants:
        if not variant.name.startswith("seed "):
            assert variant.genotype == named(f"{base}_{variant.name}")


@pytest.mark.parametrize(("base", "differing"), [("DARTS", 0), ("ENAS", 3), ("AmoebaNet", 1)])
def test_shapes_differ_from_table_2_only_in_the_known_misprints(base: str, differing: int):
    cells = [v.genotype.normal for v in connection_variants(base, "paper13")]
    measured = Counter((cell.width, cell.depth) for cell in cells)
    assert (measured - Counter(table_2(base))).total() == differing


def test_nasnet_and_enas_share_connections_and_operations():
    for part, variants in (
        ("source", (connection_variants(base, "paper13") for base in ("NASNet", "ENAS"))),
        ("op", (operation_variants(base, "paper10") for base in ("NASNet", "ENAS"))),
    ):
        for pair in zip(*variants, strict=True):
            one, other = (
                [[getattr(e, part) for e in node] for node in v.genotype.normal.nodes] for v in pair
            )
            assert one == other


@pytest.mark.parametrize(
    ("base", "order"),
    [
        ("DARTS", "CONN3 CONN4 5 8 CONN1 CONN2 6 7 9 10"),
        ("ENAS", "2 1 8 3 6 5 4 7 9 10"),
        ("AmoebaNet", "8 4 2 3 1 9 10 7 5 6"),
    ],
)
def test_paper10_is_paper13_without_the_last_three_drawn(base: str, order: str):
    assert seeds_and_cells(base, "paper10") == order
    of_ten = {v.genotype for v in connection_variants(base, "paper10")}
    assert of_ten < {v.genotype for v in connection_variants(base, "paper13")}


def test_paper4_is_the_first_four_seeds_in_their_order():
    assert {seeds_and_cells(base, "paper4") for base in BASES} == {"1 2 3 4"}


def test_main_text_numbers_the_cells_of_darts_widest_first():
    variants = connection_variants("DARTS", "main_text")
    assert [(v.index, v.name) for v in variants] == [(i, f"CONN{i}") for i in range(1, 5)]
    widths = [v.genotype.width for v in variants]
    assert widths == sorted(widths, reverse=True)
    with pytest.raises(SpecError, match="ENAS has no connection variants 'main_text'"):
        connection_variants("ENAS", "main_text")


def test_a_genotype_without_a_name_has_the_first_four_seeds():
    variants = connection_variants(named("ENAS"), "paper4")
    assert variants == connection_variants("ENAS", "paper4")
    with pytest.raises(SpecError, match="without a published name"):
        connection_variants(named("ENAS"), "paper13")


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


def test_table_3_takes_published_cells_of_darts_before_seeds():
    names = [*(f"OPS{i}" for i in range(1, 6)), *(f"seed {i}" for i in range(6, 11))]
    wanted = [
        *(named(f"DARTS_OPS{i}") for i in range(1, 6)),
        *(sample_operations(named("DARTS"), i) for i in range(6, 11)),
    ]
    variants = operation_variants("DARTS", "paper10")
    assert [(v.index, v.name) for v in variants] == list(enumerate(names, start=1))
    assert [v.genotype for v in variants] == wanted


def test_legacy_is_seeds_in_order():
    for base in BASES:
        drawn = {v.name: v.genotype for v in operation_variants(base, "legacy")}
        assert drawn == {f"seed {i}": sample_operations(named(base), i) for i in range(1, 11)}


def test_a_genotype_without_a_name_has_legacy_variants_alone():
    base = Genotype(named("DARTS").normal, named("ENAS").normal)
    assert len(operation_variants(base, "legacy")) == 10
    with pytest.raises(SpecError, match="use legacy"):
        operation_variants(base, "paper10")


@pytest.mark.parametrize(
    ("variants", "base", "mode", "hint"),
    [
        (connection_variants, "SNAS", "paper13", "use paper4"),
        (connection_variants, "DARTS", "paper12", "use paper4 or paper10 or paper13"),
        (connection_variants, "DART", "paper13", "did you mean DARTS"),
        (operation_variants, "SNAS", "paper10", "use legacy"),
        (operation_variants, "ENAS", "paper13", "use legacy or paper10"),
        (operation_variants, "Enas", "paper10", "did you mean ENAS"),
    ],
)
def test_variants_that_are_not_there_are_refused_with_those_that_are(variants, base, mode, hint):
    with pytest.raises(SpecError, match=hint):
        variants(base, mode)
