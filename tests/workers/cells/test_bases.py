import pytest

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import ADAPTED, BASES, NAMES, named


def test_figure_1_widths_and_depths():
    shapes = {base: (named(base).width, named(base).depth) for base in BASES}
    assert shapes == {
        "NASNet": (5, 2),
        "AmoebaNet": (4, 4),
        "ENAS": (5, 2),
        "DARTS": (3.5, 3),
        "SNAS": (4, 2),
    }


def test_every_name_has_a_genotype_that_survives_json():
    for name in NAMES:
        assert Genotype.from_json(named(name).to_json()) == named(name)


@pytest.mark.parametrize(("base", "adapted"), list(zip(BASES, ADAPTED, strict=True)))
def test_adapted_cells_keep_operations_and_take_inputs_only(base: str, adapted: str):
    for kept, cell in (
        (named(base).normal, named(adapted).normal),
        (named(base).reduce, named(adapted).reduce),
    ):
        assert [[e.op for e in node] for node in cell.nodes] == [
            [e.op for e in node] for node in kept.nodes
        ]
        assert cell.concat == kept.concat
        assert (cell.width_all_nodes, cell.depth) == (len(cell.nodes), 2)


@pytest.mark.parametrize("i", range(1, 6))
def test_published_operation_variants_keep_every_source_of_darts(i: int):
    variant, base = named(f"DARTS_OPS{i}"), named("DARTS")
    for cell, kept in ((variant.normal, base.normal), (variant.reduce, base.reduce)):
        assert [[e.source for e in node] for node in cell.nodes] == [
            [e.source for e in node] for node in kept.nodes
        ]


@pytest.mark.parametrize("i", range(1, 5))
def test_published_connection_variants_keep_every_operation_of_darts(i: int):
    variant, base = named(f"DARTS_CONN{i}"), named("DARTS")
    for cell, kept in ((variant.normal, base.normal), (variant.reduce, base.reduce)):
        assert [[e.op for e in node] for node in cell.nodes] == [
            [e.op for e in node] for node in kept.nodes
        ]


def test_aliases_of_the_released_code():
    assert named("DARTS_V2") == named("DARTS") != named("DARTS_V1")
    assert named("SNAS_MILD") == named("SNAS")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("darts", "DARTS"),
        ("NasNet", "NASNet"),
        ("ENAS_ADAPTED", "ENAS_ADAPT"),
        ("", "use one of"),
    ],
)
def test_unknown_name_says_what_is_near(name: str, hint: str):
    with pytest.raises(SpecError, match=hint):
        named(name)


@pytest.mark.parametrize("name", [None, 3, ["DARTS"]])
def test_a_name_that_is_no_text_is_refused(name: object):
    with pytest.raises(SpecError, match="unknown genotype"):
        named(name)  # type: ignore[arg-type]
