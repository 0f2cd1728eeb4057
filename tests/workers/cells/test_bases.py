import json
from importlib import resources

import pytest

from results_schema.errors import SpecError
from results_schema.genotype import Cell, Genotype
from workers.cells.bases import ADAPTED, BASES, NAMES, named, zoo, zoo_genotype

ZOO = json.loads(resources.files("workers.cells").joinpath("zoo.json").read_text("utf-8"))


def cells(genotype: Genotype) -> tuple[Cell, Cell]:
    return genotype.normal, genotype.reduce


def edges(genotype: Genotype, part: str) -> list[list[list[object]]]:
    return [[[getattr(e, part) for e in node] for node in cell.nodes] for cell in cells(genotype)]


def test_adapted_cells_keep_operations_and_take_inputs_only():
    for base, adapted in zip(BASES, ADAPTED, strict=True):
        assert edges(named(adapted), "op") == edges(named(base), "op")
        for kept, cell in zip(cells(named(base)), cells(named(adapted)), strict=True):
            assert cell.concat == kept.concat
            assert (cell.width_all_nodes, cell.depth) == (len(cell.nodes), 2)


def test_published_variants_of_darts_keep_what_they_do_not_redraw():
    for i in range(1, 6):
        assert edges(named(f"DARTS_OPS{i}"), "source") == edges(named("DARTS"), "source")
    for i in range(1, 5):
        assert edges(named(f"DARTS_CONN{i}"), "op") == edges(named("DARTS"), "op")


def test_aliases_of_the_released_code():
    assert named("DARTS_V2") == named("DARTS") != named("DARTS_V1")
    assert named("SNAS_MILD") == named("SNAS")


@pytest.mark.parametrize(
    ("find", "name", "hint"),
    [
        (named, "darts", "did you mean DARTS"),
        (named, "", "use one of NASNet"),
        (named, None, "unknown genotype None"),
        (named, ["DARTS"], "unknown genotype"),
        (zoo_genotype, "pdarts", "did you mean PDARTS"),
        (zoo_genotype, "?", "use one of"),
    ],
)
def test_an_unknown_name_is_refused_with_what_is_near(find, name, hint: str):
    with pytest.raises(SpecError, match=hint):
        find(name)


def test_every_cell_is_sound_and_those_of_the_zoo_name_their_source():
    for name in NAMES:
        assert Genotype.from_json(named(name).to_json()) == named(name)
    for name in zoo():
        for cell in cells(zoo_genotype(name)):
            assert 1 <= cell.width <= len(cell.nodes) <= 5
            assert cell.depth
        assert "/" in ZOO[name]["source"]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("PC_DARTS_cifar", [(4, 2), (2.5, 4)]),
        ("XNAS", [(2.5, 5), (2.5, 5)]),
        ("PNASNet", [(4.5, 3), (4.5, 3)]),
        ("FairDARTS_g", [(2.5, 2), (2.5, 5)]),
        ("NAONet_A_WS36 (NAO)", [(4, 3), (4.5, 3)]),
        ("SETN", [(3, 4), (4, 2)]),
    ],
)
def test_known_shapes(name: str, shapes: list[tuple[float, int]]):
    assert [(cell.width, cell.depth) for cell in cells(zoo_genotype(name))] == shapes


def test_notes_on_the_bases_are_true():
    for name in ("NASNet", "AmoebaNet", "DARTS_V1"):
        assert ZOO[name]["note"] == f"equals the paper's {name}"
        assert zoo_genotype(name) == named(name)
    assert zoo_genotype("ENASNet").normal == named("ENAS").normal
    assert zoo_genotype("ENASNet").reduce != named("ENAS").reduce
    assert [len(node) for node in zoo_genotype("FairDARTS_a").normal.nodes] == [2, 0, 1, 1]
