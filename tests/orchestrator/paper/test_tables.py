"""Tables 1 to 3: the paper's numbers beside those of networks, cells and trials."""

import csv
import io
import math
from typing import Any

import pandas as pd
import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import cell_rows, member_rows
from orchestrator.paper import printed, tables
from orchestrator.paper.error_table import errors_data, errors_sheet
from orchestrator.paper.printed import BASES, paper_parameters
from orchestrator.paper.tables import paper_tables, parameters_data, shapes_data
from results_schema.errors import ConfigError
from workers.cells.variants import connection_variants, operation_variants

PAPER_GAINS = {
    "cifar10": [0.15, 0.15, 0.12, 0.06, -0.19],
    "cifar100": [-0.20, -0.27, -0.63, -0.26, -0.58],
    "tiny_imagenet": [0.17, 0.94, 0.68, 0.75, 0.21],
}
"""Adapted minus original errors of Table 1, in points of a percent, by base as the table has it."""


def cells(name: str) -> pd.DataFrame:
    return pd.DataFrame(cell_rows(load_experiment(f"experiments/{name}.yaml")))


def trials(**overrides: object) -> pd.DataFrame:
    """Members of Table 1, all of 5 % error but for what is overridden."""
    frame = pd.DataFrame(member_rows(load_experiment("experiments/table1.yaml")))
    return frame.assign(status="done", test_accuracy=0.95, parameters=1000).assign(**overrides)


def test_the_paper_s_table_1_is_what_the_networks_have():
    [table] = paper_tables(1)
    assert len(table.records) == 30
    for entry in table.records:
        assert entry["printed_parameters"] == entry["parameters"]
        assert entry["error"] is None
    assert len(table.sheet.columns) == 1 + 3 * 3


def test_the_paper_s_table_3_is_what_the_networks_have_but_for_two_swapped_digits():
    [table] = paper_tables(3)
    assert len(table.records) == 44
    [wrong] = [entry for entry in table.records if entry["difference"]]
    assert wrong == {
        "variants": "paper10", "base": "AmoebaNet", "index": 9, "variant": "seed 9",
        "printed": 3.42, "parameters": 3_240_550, "difference": -0.18,
        "explanation": printed.EXPLANATIONS[3, "AmoebaNet", "C9"],
    }  # fmt: skip
    assert table.sheet.highlights == {(9, 8): 1}
    assert table.sheet.remarks[0].startswith("43 of 44")


def test_what_is_said_of_wrong_entries_is_true():
    seeds = [v.genotype for v in operation_variants("DARTS", "legacy")[:5]]
    sizes = [paper_parameters(one, "cifar10", auxiliary=False) / 1e6 for one in seeds]
    *some, last = (f"{size:.2f}" for size in sizes)
    assert f"{', '.join(some)} and {last}." in printed.REMARKS[3][0]
    slots = [(e["printed_width"], e["printed_depth"]) for e in paper_tables(2)[0].records]
    table = slots[14:28]  # of ENAS
    drawn = [(v.genotype.width, v.genotype.depth) for v in connection_variants("ENAS", "paper10")]
    for shape in ((3, 3), (3.5, 5), (3.5, 4)):
        assert drawn.count(shape) == table.count(shape) - 1


def test_the_paper_s_table_2_has_the_published_shapes_but_for_seven():
    paper, profile = paper_tables(2)
    three = {8: (3, 4), 9: (3.5, 3), 11: (3.5, 3)}
    wrong: dict[str, Any] = {"ENAS": three, "NASNet": three, "AmoebaNet": {13: (3, 4)}}
    for base in BASES:
        entries = [entry for entry in paper.records if entry["base"] == base]
        shapes = {e["variant"]: (e["width"], e["depth"]) for e in entries}
        variants = connection_variants(base, "paper13")
        drawn = {v.name: (v.genotype.width, v.genotype.depth) for v in variants}
        assert shapes == {base: printed.FIGURE_1[base], **drawn}
        odd = [e for e in entries if e["width_difference"] or e["depth_difference"]]
        assert {e["index"]: (e["width"], e["depth"]) for e in odd} == wrong.get(base, {})
        assert all(bool(e["explanation"]) == (e in odd) for e in entries)
    places = {(i, j): 1 for i in (8, 9, 11) for j in (5, 11)} | {(13, 8): 2}
    assert paper.sheet.highlights == places
    assert len(paper.sheet.footnotes) == 2
    assert {len(row) for row in paper.sheet.rows} == {len(paper.sheet.columns)}
    assert not any(e["width_difference"] or e["depth_difference"] for e in profile.records)
    assert [e["variant"] for e in profile.records][1:4] == ["seed 14", "seed 34", "seed 40"]


def test_an_experiment_has_the_papers_errors_sizes_and_gains_beside_its_own():
    entries = errors_data(trials())
    assert len(entries) == 30
    nasnet = entries[0].record()
    assert (nasnet["cell"], nasnet["printed_error"]) == ("NASNet", 2.65)
    assert (nasnet["error"], nasnet["difference"]) == pytest.approx((5, 2.35))
    assert nasnet["parameters_difference"] == 0
    rows = {row[0]: row for row in errors_sheet(entries).rows}
    for place, expected in enumerate(PAPER_GAINS.values()):
        *found, mean = (
            float(rows[f"{name}: adapted − original"][1 + 5 * place].replace("−", "-"))
            for name in ("NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS", "mean of 5")
        )
        assert found == expected
        assert mean == pytest.approx(sum(expected) / 5, abs=0.0051)
        assert rows["DARTS: adapted − original"][2 + 5 * place] == "0.00"


def test_seeds_are_averaged_and_what_diverged_or_is_missing_is_counted():
    one = trials()
    one = one[(one["variant"] == "SNAS") & (one["named_dataset"] == "cifar10")]
    several = pd.concat(
        [
            one.assign(seed=0, test_accuracy=0.9),
            one.assign(seed=1, test_accuracy=0.8),
            one.assign(seed=2, status="diverged", test_accuracy=0.1),
            one.assign(seed=3, status=None, test_accuracy=math.nan),
        ]
    )
    (entry,) = errors_data(several)
    assert entry.error == pytest.approx((10 + 20 + 100) / 3)
    assert entry.deviation == pytest.approx(49.33, abs=0.01)
    assert (entry.done, entry.diverged, entry.missing) == (2, 1, 1)
    sheet = errors_sheet([entry])
    assert sheet.rows[0][2] == "43.33 ± 49.33 (1 diverged)"
    assert "Trials without a result: 1." in sheet.remarks
    assert "Diverged: 1 of 3 trials, counted as an error of 100 %." in sheet.remarks


def test_substitute_datasets_are_named():
    remarks = errors_sheet(errors_data(trials(dataset="digits_32"))).remarks
    [remark] = [remark for remark in remarks if "digits_32 in place of cifar10" in remark]
    assert "not a test of the paper's claim" in remark


def test_a_cell_of_ones_own_has_no_printed_value():
    (entry,) = errors_data(trials().head(1).assign(base="mine|<b>"))
    assert entry.printed_error is None and entry.parameters is None
    assert r"mine\|&lt;b&gt;" in tables.Table(errors_sheet([entry]), []).text("md")
    assert {entry.printed for entry in shapes_data(cells("table2").assign(base="mine"))} == {None}


@pytest.mark.parametrize(
    ("kind", "frame", "problem"),
    [
        ("errors", trials().head(0), "no trials"),
        ("errors", trials(learning_rate=[0.025, 0.25] * 15), "one learning rate, not 0.025, 0.25"),
        (
            "errors",
            trials(
                axes=['{"recipe.momentum": 0}', '{"recipe.momentum": 1}'] * 15, momentum=[0, 1] * 15
            ),
            "one value of momentum, not several",
        ),
        ("shapes", pd.DataFrame(), "no cells"),
        ("parameters", pd.DataFrame(), "no cells"),
    ],
)
def test_what_makes_no_table_is_refused(kind, frame, problem):
    with pytest.raises(ConfigError, match=problem):
        tables.make(kind, lambda _: frame)


@pytest.mark.parametrize(
    ("experiment", "kind", "number"), [("table2", "shapes", 2), ("table3", "parameters", 3)]
)
def test_an_experiment_of_the_paper_has_the_paper_s_table(experiment, kind, number):
    table = tables.make(kind, lambda _: cells(experiment))
    paper = paper_tables(number)[0]
    for ours, theirs in zip(table.records, paper.records, strict=True):
        # An experiment distinguishes seeds of connections and operations.
        name = ours["variant"].removeprefix("ops ")
        assert {"variants": theirs["variants"], **ours, "variant": name} == theirs
    records = list(csv.DictReader(io.StringIO(table.text("csv"))))
    assert records == [
        {k: "" if v is None else str(v) for k, v in r.items()} for r in table.records
    ]


def test_cells_of_one_name_in_two_bases_are_two_cells():
    nine = pd.DataFrame(member_rows(load_experiment("experiments/fig9.yaml")))
    found = errors_data(nine.assign(status="done", test_accuracy=0.9))
    assert len(found) == 56
    assert {entry.done for entry in found} == {1}
    assert {"ENAS", "ENAS C3", "NASNet C3"} <= {entry.cell for entry in found}


def test_the_print_stands_beside_the_cells_that_it_is_about_alone():
    for entries in (parameters_data(cells("table2")), shapes_data(cells("table3"))):
        assert {entry.index for entry in entries if entry.printed is not None} == {0}
    frame = cells("table2")
    kept: Any = frame[(frame["base"] == "DARTS") & frame["index"].isin([0, 12, 13])]
    entries = shapes_data(kept)
    assert [(entry.index, entry.differs) for entry in entries] == [(n, False) for n in (0, 12, 13)]
