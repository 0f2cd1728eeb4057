"""The paper's Tables 1 to 3, counted from the networks themselves."""

import pytest
import torch

from orchestrator.paper import printed
from orchestrator.paper.printed import BASES, compare, table_sheet
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.cells.variants import connection_variants, operation_variants
from workers.network.network import Network

SHAPES = {"CIFAR-10": (10, 1), "CIFAR-100": (100, 1), "Tiny-ImageNet": (200, 2)}
"""Logits, and the stride of the stem."""


def count(genotype: Genotype, dataset: str = "CIFAR-10", *, auxiliary: bool = False) -> int:
    """Parameters of the paper's network, built without memory for them."""
    classes, stem_stride = SHAPES[dataset]
    with torch.device("meta"):
        network = Network(
            genotype,
            NetworkSpec(stem_stride=stem_stride),
            classes=classes,
            auxiliary=auxiliary,
        )
    return sum(parameter.numel() for parameter in network.parameters())


def test_table_1_is_what_the_networks_have():
    entries = compare(1)
    assert len(entries) == 30
    for entry in entries:
        parameters = count(named(entry.name), entry.column, auxiliary=True)
        assert entry.parameters == parameters
        assert entry.printed == entry.ours == f"{parameters / 1e6:.2f}"


def test_table_3_is_what_the_networks_have_but_for_two_swapped_digits():
    variants = {
        base: [named(base), *(v.genotype for v in operation_variants(base, "paper10"))]
        for base in BASES
    }
    entries = compare(3)
    assert len(entries) == 44
    for entry in entries:
        genotype = variants[entry.base][int(entry.column.removeprefix("C"))]
        assert entry.parameters == count(genotype)
    (wrong,) = (entry for entry in entries if not entry.matches)
    assert (wrong.base, wrong.column, wrong.name) == ("AmoebaNet", "C9", "seed 9")
    assert (wrong.printed, wrong.ours, wrong.parameters) == ("3.42", "3.24", 3_240_550)
    assert sorted(wrong.printed) == sorted(wrong.ours)


def test_the_remark_on_darts_tells_what_the_released_seeds_have():
    legacy = [count(v.genotype) / 1e6 for v in operation_variants("DARTS", "legacy")[:5]]
    *first, last = (f"{parameters:.2f}" for parameters in legacy)
    assert f"{', '.join(first)} and {last}." in printed.REMARKS[3][1]


@pytest.mark.parametrize(
    ("base", "wrong"),
    [
        ("DARTS", {}),
        ("ENAS", {"C8": "3c,4", "C9": "3.5c,3", "C11": "3.5c,3"}),
        ("NASNet", {"C8": "3c,4", "C9": "3.5c,3", "C11": "3.5c,3"}),
        ("AmoebaNet", {"C13": "3c,4"}),
    ],
)
def test_table_2_has_the_shapes_of_the_published_code_but_for_seven(
    base: str, wrong: dict[str, str]
):
    entries = [e for e in compare(2) if (e.base, e.version) == (base, "paper13")]
    assert {e.column: e.ours for e in entries if not e.matches} == wrong
    assert all(e.explanation for e in entries if not e.matches)
    assert not any(e.explanation for e in entries if e.matches)
    variants = connection_variants(base, "paper13")
    assert sorted(e.name for e in entries) == sorted(v.name for v in variants)
    shapes = {v.name: f"{v.genotype.normal.width:g}c,{v.genotype.depth}" for v in variants}
    assert {e.name: e.ours for e in entries} == shapes


def test_the_explanation_of_the_three_depths_is_true():
    table = [e.printed for e in compare(2) if (e.base, e.version) == ("ENAS", "paper13")]
    drawn = [
        f"{v.genotype.normal.width:g}c,{v.genotype.depth}"
        for v in connection_variants("ENAS", "paper10")
    ]
    for shape in ("3c,3", "3.5c,5", "3.5c,4"):
        assert drawn.count(shape) == table.count(shape) - 1


def test_the_profile_has_every_shape_of_table_2():
    entries = [e for e in compare(2) if e.version == "profile"]
    assert len(entries) == 4 * 13
    assert all(e.matches for e in entries)
    assert [e.name for e in entries if e.base == "DARTS"][:3] == ["seed 14", "seed 34", "seed 40"]


@pytest.mark.parametrize(
    ("table", "marked", "remark"),
    [
        (1, {}, "30 of 30"),
        (2, {(i, j): 1 for i in (7, 8, 10) for j in (5, 11)} | {(12, 8): 2}, "45 of 52"),
        (3, {(9, 6): 1}, "43 of 44"),
    ],
)
def test_a_sheet_marks_what_differs_and_says_why(
    table: int, marked: dict[tuple[int, int], int], remark: str
):
    sheet = table_sheet(compare(table))
    assert sheet.highlights == marked
    assert set(marked.values()) == set(range(1, len(sheet.footnotes) + 1))
    assert sheet.remarks[0].startswith(remark)
    assert {len(row) for row in sheet.rows} == {len(sheet.columns)}


def test_an_explanation_stands_for_an_entry_that_differs():
    differ = {(e.table, e.base, e.column) for t in (1, 2, 3) for e in compare(t) if not e.matches}
    assert differ == set(printed.EXPLANATIONS)


@pytest.mark.parametrize("table", [0, 4])
def test_other_tables_are_refused(table: int):
    with pytest.raises(ConfigError, match="use 1, 2 or 3"):
        compare(table)
