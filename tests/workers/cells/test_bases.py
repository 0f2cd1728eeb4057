import json
from importlib import resources

import pytest

from results_schema.errors import SpecError
from results_schema.genotype import Genotype
from workers.cells.bases import ADAPTED, BASES, NAMES, named, zoo, zoo_genotype

ZOO = json.loads(resources.files("workers.cells").joinpath("zoo.json").read_text("utf-8"))


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


@pytest.mark.parametrize("name", sorted(zoo()))
def test_every_cell_is_sound_and_says_where_it_comes_from(name: str):
    genotype = zoo_genotype(name)
    for cell in (genotype.normal, genotype.reduce):
        assert 1 <= cell.width <= len(cell.nodes) <= 5
        assert cell.depth == cell.depth
    assert "/" in ZOO[name]["source"]


@pytest.mark.parametrize(
    ("name", "normal", "reduce"),
    [
        ("PDARTS", (3, 4), (3, 4)),
        ("PC_DARTS_cifar", (4, 2), (2.5, 4)),
        ("DrNAS_imagenet", (3.5, 3), (2.5, 4)),
        ("XNAS", (2.5, 5), (2.5, 5)),
        ("PNASNet", (4.5, 3), (4.5, 3)),
        ("FairDARTS_a", (3, 2), (4, 2)),
        ("FairDARTS_g", (2.5, 2), (2.5, 5)),
        ("NAONet_A_WS36 (NAO)", (4, 3), (4.5, 3)),
        ("SETN", (3, 4), (4, 2)),
        ("ENAS (official arc)", (5, 2), (4.5, 3)),
    ],
)
def test_known_shapes(name: str, normal: tuple[float, int], reduce: tuple[float, int]):
    genotype = zoo_genotype(name)
    assert (genotype.normal.width, genotype.normal.depth) == normal
    assert (genotype.reduce.width, genotype.reduce.depth) == reduce


def test_notes_on_the_bases_are_true():
    for name in ("NASNet", "AmoebaNet", "DARTS_V1"):
        assert ZOO[name]["note"] == f"equals the paper's {name}"
        assert zoo_genotype(name) == named(name)
    assert zoo_genotype("ENASNet").normal == named("ENAS").normal
    assert zoo_genotype("ENASNet").reduce != named("ENAS").reduce


def test_nodes_of_fewer_edges_stand_where_they_belong():
    edges = [len(node) for node in zoo_genotype("FairDARTS_a").normal.nodes]
    assert edges == [2, 0, 1, 1]


@pytest.mark.parametrize(("name", "hint"), [("pdarts", "did you mean PDARTS"), ("?", "use one of")])
def test_a_name_that_the_zoo_lacks_is_met_with_what_is_near(name: str, hint: str):
    with pytest.raises(SpecError, match=hint):
        zoo_genotype(name)
