import pytest

from results_schema.errors import SpecError
from workers.cells.bases import BASES, named
from workers.cells.variants import connection_variants

ENAS = "23 125 2 188 1 8 3 6 5 4 7 9 10"
PAPER13 = {
    "DARTS": "CONN3 CONN4 14 5 8 CONN1 CONN2 6 7 9 12 10 16",
    "ENAS": ENAS,
    "NASNet": ENAS,
    "AmoebaNet": "23 8 125 4 2 188 3 1 9 10 7 5 6",
}
# Table 2 as printed; the cells of each base in the order of PAPER13.
TABLE_2 = {
    "DARTS": "2,4 2,4 2,4 2.5,4 2.5,4 2.5,3 2.5,3 2.5,3 3,3 3,3 3,3 3.5,3 3.5,3",
    "ENAS": "1.5,6 1.5,5 2,6 2,6 2.5,5 2.5,5 3,4 3,3 3.5,5 3.5,4 3.5,4 3.5,3 3.5,3",
    "AmoebaNet": "1.5,6 1.5,5 1.5,5 1.5,3 2,6 2,6 2,4 2.5,5 2.5,3 2.5,3 3,3 3.5,4 3.5,3",
}


def seeds_and_cells(base: str, mode: str) -> str:
    return " ".join(v.name.removeprefix("seed ") for v in connection_variants(base, mode))


def shapes(base: str) -> list[str]:
    cells = [v.genotype.normal for v in connection_variants(base, "paper13")]
    return [f"{cell.width:g},{cell.depth}" for cell in cells]


@pytest.mark.parametrize("base", PAPER13)
def test_paper13_order(base: str):
    assert seeds_and_cells(base, "paper13") == PAPER13[base]
    assert [v.index for v in connection_variants(base, "paper13")] == list(range(1, 14))


def test_darts_shapes_are_those_of_table_2():
    assert shapes("DARTS") == TABLE_2["DARTS"].split()


@pytest.mark.parametrize(("base", "differing"), [("ENAS", 3), ("AmoebaNet", 1)])
def test_shapes_differ_from_table_2_only_in_the_known_misprints(base: str, differing: int):
    measured, printed = shapes(base), TABLE_2[base].split()
    unmatched = list(measured)
    for shape in printed:
        if shape in unmatched:
            unmatched.remove(shape)
    assert len(unmatched) == differing


def test_nasnet_and_enas_share_connections():
    nasnet, enas = connection_variants("NASNet", "paper13"), connection_variants("ENAS", "paper13")
    for a, b in zip(nasnet, enas, strict=True):
        assert [[e.source for e in node] for node in a.genotype.normal.nodes] == [
            [e.source for e in node] for node in b.genotype.normal.nodes
        ]


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


@pytest.mark.parametrize("base", BASES)
def test_paper4_is_the_first_four_seeds_in_their_order(base: str):
    assert seeds_and_cells(base, "paper4") == "1 2 3 4"


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


def test_a_published_variant_is_the_published_cell():
    variants = {v.name: v.genotype for v in connection_variants("DARTS_V2", "paper13")}
    assert variants["CONN3"] == named("DARTS_CONN3")


@pytest.mark.parametrize(
    ("base", "mode", "hint"),
    [
        ("SNAS", "paper13", "use paper4"),
        ("DARTS", "paper12", "use paper4 or paper10 or paper13"),
        ("DART", "paper13", "did you mean DARTS"),
    ],
)
def test_what_is_not_there_is_refused_with_what_is(base: str, mode: str, hint: str):
    with pytest.raises(SpecError, match=hint):
        connection_variants(base, mode)
