"""Finding a cell by a name or in a file."""

import json
from pathlib import Path

import pytest

from orchestrator.config.cell_catalog import find
from results_schema.errors import NasSweepError
from workers.cells.bases import named, zoo_genotype


@pytest.mark.parametrize(
    ("what", "name", "published"),
    [
        ("DARTS", "DARTS", True),
        ("DARTS_V2", "DARTS", True),
        ("SNAS_MILD", "SNAS", True),
        ("PDARTS", "PDARTS", False),
        ("GDAS_V1 (D-X-Y)", "GDAS_V1 (D-X-Y)", False),
        ("zoo:SNAS", "zoo:SNAS", False),
    ],
)
def test_a_name_is_the_papers_before_the_zoos(what: str, name: str, published: bool):
    found = find(what)
    assert (found.name, found.published) == (name, published)


def test_the_zoo_may_have_another_cell_under_a_name_of_the_paper():
    assert find("SNAS").genotype == named("SNAS")
    assert find("zoo:SNAS").genotype == zoo_genotype("SNAS") != named("SNAS")


def test_a_file_holds_ones_own(tmp_path: Path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(named("ENAS").to_json()))
    found = find(str(file))
    assert (found.name, found.genotype) == ("mine", named("ENAS"))
    assert found.origin == named("ENAS")


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("darts", "did you mean DARTS"),
        ("p-darts", "did you mean .*PDARTS"),
        ("", "nas-sweep cells"),
        ("Ω", "nas-sweep cells"),
        ("zoo:", "the zoo has no ''"),
        ("missing.yaml", "missing.yaml: cannot read"),
    ],
)
def test_what_cannot_be_found_is_refused_with_a_hint(what: str, told: str):
    with pytest.raises(NasSweepError, match=told) as caught:
        find(what)
    assert caught.value.exit_code == 2
