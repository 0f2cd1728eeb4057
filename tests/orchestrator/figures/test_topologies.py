"""Cells of an experiment as drawings."""

import json

import pandas as pd
import pytest

from orchestrator.figures import draw, read_choice
from orchestrator.figures.topologies import topologies_data
from results_schema.errors import ConfigError
from workers.cells.bases import named


def table(*names):
    return pd.DataFrame(
        [{"experiment": "fig1", "base": base, "variant": name, "index": index,
          "genotype": json.dumps(named(name).to_json())} for base, name, index in names]
    )  # fmt: skip


BASES = table(*((n, n, 0) for n in ("NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS")))


def words(figure):
    return [note["text"] for note in figure.to_dict()["layout"]["annotations"]]


@pytest.mark.parametrize(
    ("width", "printed"),
    [("final", [(5, 2), (4, 4), (5, 2), (3.5, 3), (4, 2)]),
     ("early", [(5, 2), (3, 4), (5, 2), (3, 3), (4, 2)])],
)  # fmt: skip
def test_figure_1_has_the_widths_and_depths_that_both_versions_print(width, printed):
    data = topologies_data(BASES, width=width)
    assert [(cell.width, cell.depth) for cell in data.cells] == printed


def test_reduction_cells_follow_and_variants_are_named_by_index():
    cells = table(("DARTS", "DARTS", 0), ("DARTS", "DARTS_CONN1", 1))
    names = [cell.name for cell in topologies_data(cells, reduction=True).cells]
    assert names == ["DARTS", "DARTS, reduction", "C1", "C1, reduction"]
    both = pd.concat([cells, BASES.iloc[:1]])
    assert [cell.name for cell in topologies_data(both).cells] == ["DARTS", "DARTS C1", "NASNet"]


def test_options_reach_the_drawing():
    plain, full = (
        words(draw(read_choice({"kind": "topologies", **options}), lambda _: BASES, "Cells"))
        for options in ({}, {"labels": True, "width": "early", "bases": ["SNAS"]})
    )
    assert "sep 3×3" not in plain
    assert "sep 3×3" in full
    assert "SNAS (4c, 2)" in full
    assert not any("DARTS" in text for text in full)
    assert any("earlier version" in text or "fed by inputs alone" in text for text in full)
    assert not any("fed by inputs alone" in text for text in plain)


@pytest.mark.parametrize("genotype", ["", "{}", '{"normal": 1, "reduce": 2}'])
def test_a_broken_genotype_is_told(genotype):
    with pytest.raises(ConfigError, match="the genotype of NASNet cannot be read"):
        topologies_data(BASES.iloc[:1].assign(genotype=genotype))


def test_without_cells_the_error_says_so():
    with pytest.raises(ConfigError, match="topologies"):
        topologies_data(BASES.iloc[:0])
