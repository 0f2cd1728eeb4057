"""Tables 1 to 3: the paper's numbers beside those of an experiment."""

import csv
import io
import math
import re
from typing import Any

import pandas as pd
import pytest

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import cell_rows, member_rows
from orchestrator.paper import tables
from orchestrator.paper.error_table import errors_data, errors_sheet
from orchestrator.paper.tables import parameters_data, shapes_data
from results_schema.errors import ConfigError

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


def test_table_1_has_the_papers_errors_and_sizes_beside_ours():
    entries = {(entry.cell, entry.named_dataset): entry for entry in errors_data(trials())}
    assert len(entries) == 30
    nasnet = entries["NASNet", "cifar10"]
    assert nasnet.printed_error == 2.65
    assert nasnet.error == pytest.approx(5)
    assert nasnet.difference == pytest.approx(2.35)
    assert all(entry.printed_parameters == entry.parameters for entry in entries.values())


def test_table_1_tells_the_papers_own_gains_of_adapting():
    rows = {row[0]: row for row in errors_sheet(errors_data(trials())).rows}
    for place, expected in enumerate(PAPER_GAINS.values()):
        found = [
            float(rows[f"{base}: adapted − original"][1 + 5 * place].replace("−", "-"))
            for base in ("NASNet", "AmoebaNet", "ENAS", "DARTS", "SNAS")
        ]
        assert found == expected
        mean = rows["mean of 5: adapted − original"][1 + 5 * place].replace("−", "-")
        assert float(mean) == pytest.approx(sum(expected) / 5, abs=0.0051)


def test_seeds_are_averaged_and_what_diverged_or_is_missing_is_told():
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
    assert "1 trials have no result." in sheet.remarks
    assert "Diverged: 1 of 3 trials, counted as an error of 100 %." in sheet.remarks


def test_stand_ins_are_named_as_such():
    sheet = errors_sheet(errors_data(trials(dataset="digits_32")))
    [said] = [remark for remark in sheet.remarks if "digits_32 in place of cifar10" in remark]
    assert "not a test of the paper's claim" in said


def test_a_cell_of_ones_own_has_no_printed_value():
    (entry,) = errors_data(trials().head(1).assign(base="mine|<b>"))
    assert entry.printed_error is None and entry.parameters is None
    assert r"mine\|&lt;b&gt;" in tables.Table(errors_sheet([entry]), []).text("md")


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (trials().head(0), "no trials"),
        (trials(learning_rate=[0.025, 0.25] * 15), "one learning rate, not 0.025, 0.25"),
    ],
)
def test_what_can_make_no_table_is_told(frame, said):
    with pytest.raises(ConfigError, match=said):
        errors_data(frame)


def test_table_2_pairs_each_printed_shape_with_a_variant():
    entries = shapes_data(cells("table2"))
    assert len(entries) == 4 * 14
    assert sum(not entry.differs for entry in entries) == 49
    for base in ("DARTS", "ENAS", "AmoebaNet", "NASNet"):
        assert len({entry.variant for entry in entries if entry.base == base}) == 14
    (swapped,) = [e for e in entries if e.base == "AmoebaNet" and e.index == 13]
    assert swapped.record()["width_difference"] == -0.5
    assert "seed 6" in swapped.explanation


def test_variants_that_the_paper_does_not_print_have_no_printed_shape():
    frame = cells("table2").assign(base="mine")
    assert {entry.printed for entry in shapes_data(frame)} == {None}


def test_table_3_agrees_but_for_the_swapped_digits():
    entries = parameters_data(cells("table3"))
    assert len(entries) == 44
    (odd,) = [entry for entry in entries if entry.difference]
    assert (odd.base, odd.index, odd.difference) == ("AmoebaNet", 9, -0.18)


@pytest.mark.parametrize(("name", "kind"), [("table2", "shapes"), ("table3", "parameters")])
def test_every_form_holds_all_numbers(name, kind):
    table = tables.make(kind, lambda _: cells(name))
    records = list(csv.DictReader(io.StringIO(table.text("csv"))))
    plain = [{k: "" if v is None else str(v) for k, v in r.items()} for r in table.records]
    assert records == plain
    lines = {form: table.text(form).splitlines() for form in ("md", "tex")}
    for row in table.sheet.rows:
        for form, mark in (
            ("md", r"\*\*|[⁰¹²³⁴]"),
            ("tex", r"\\textbf\{|\\textsuperscript\{\d\}|\}|\\"),
        ):
            found = [re.sub(mark, "", line) for line in lines[form]]
            parted = [re.split(r"\s*[|&]\s*", line.strip(" |")) for line in found]
            assert [text.replace("–", "--" if form == "tex" else "–") for text in row] in [
                [cell.strip() for cell in line] for line in parted
            ], (form, row)


def test_cells_of_one_name_in_two_bases_are_two_cells():
    nine = pd.DataFrame(member_rows(load_experiment("experiments/fig9.yaml")))
    found = errors_data(nine.assign(status="done", test_accuracy=0.9))
    assert len(found) == 56
    assert {entry.done for entry in found} == {1}
    assert {"ENAS", "ENAS C3", "NASNet C3"} <= {entry.cell for entry in found}


def test_the_print_stands_beside_the_cells_that_it_is_about_alone():
    connections = parameters_data(cells("table2"))
    assert {entry.index for entry in connections if entry.compared} == {0}
    operations = shapes_data(cells("table3"))
    assert {entry.index for entry in operations if entry.compared} == {0}


def test_some_of_the_variants_keep_their_places_in_the_print():
    frame = cells("table2")
    kept: Any = frame[(frame["base"] == "DARTS") & frame["index"].isin([0, 12, 13])]
    entries = shapes_data(kept)
    assert [entry.index for entry in entries] == [0, 12, 13]
    assert not any(entry.differs for entry in entries)


@pytest.mark.parametrize("kind", ["shapes", "parameters"])
def test_no_cells_make_no_table(kind):
    with pytest.raises(ConfigError, match="no cells"):
        tables.make(kind, lambda _: pd.DataFrame())
