import pytest

from results_schema.errors import SpecError
from workers.cells.bases import named
from workers.cells.zoo import zoo, zoo_genotype, zoo_origin


@pytest.mark.parametrize("name", sorted(zoo()))
def test_every_cell_is_sound_and_says_where_it_comes_from(name: str):
    genotype = zoo_genotype(name)
    for cell in (genotype.normal, genotype.reduce):
        assert 1 <= cell.width <= len(cell.nodes) <= 5
        assert cell.depth == cell.depth
    assert "/" in zoo_origin(name).source


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
        assert zoo_origin(name).note == f"equals the paper's {name}"
        assert zoo_genotype(name) == named(name)
    assert zoo_genotype("ENASNet").normal == named("ENAS").normal
    assert zoo_genotype("ENASNet").reduce != named("ENAS").reduce


def test_nodes_of_fewer_edges_stand_where_they_belong():
    edges = [len(node) for node in zoo_genotype("FairDARTS_a").normal.nodes]
    assert edges == [2, 0, 1, 1]


@pytest.mark.parametrize(("name", "hint"), [("pdarts", "did you mean PDARTS"), ("?", "use one of")])
def test_unknown_name_says_what_is_near(name: str, hint: str):
    with pytest.raises(SpecError, match=hint):
        zoo_genotype(name)
    with pytest.raises(SpecError, match=hint):
        zoo_origin(name)
