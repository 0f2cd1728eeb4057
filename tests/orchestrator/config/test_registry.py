"""The figures that an experiment may name: kinds, options, and the members they show."""

import pandas as pd
import pytest
from experiment_files import edited, refused

from orchestrator.config.experiment import load_experiment
from orchestrator.config.registry import FIGURE_KINDS, Choice, Options, read_choice, select
from results_schema.errors import ConfigError

OLD = "{accuracy: accuracy_by_index}"


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(figures):
        (tmp_path / "x.yaml").write_text(edited(OLD, figures))

    return write


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_a_name_alone_is_that_kind_with_its_defaults(write, kind):
    write(f"{{one: {kind}, two: {{kind: {kind}}}}}")
    figures = load_experiment("x.yaml").figures
    assert figures["one"] == figures["two"] == Choice(kind, FIGURE_KINDS[kind].options())


def test_options_are_read_and_can_be_set_from_outside(write):
    write("{a: {kind: accuracy_by_index, title: Two, bases: [SNAS], indices: [0, 2]}}")
    options = load_experiment("x.yaml", overrides=["figures.a.indices=[1]"]).figures["a"].options
    assert (options.title, options.bases, options.indices) == ("Two", ("SNAS",), (1,))


@pytest.mark.parametrize(
    ("figures", "message"),
    [
        ("{a: {}}", "x.yaml:12: figures.a.kind: no kind of figure is named\n  use one of acc"),
        ("{a: {kind: contour}}", "figures.a.kind: unknown kind of figure 'contour'\n  did you me"),
        ("{a: {kind: [contours]}}", "figures.a.kind: unknown kind of figure ['contours']"),
        ("{a: 3}", "x.yaml:12: figures.a: unknown kind of figure 3"),
        ("{a: {kind: contours, base: [DARTS]}}", "unknown key figures.a.base\n  did you mean base"),
        ("{a: {kind: contours, bases: DARTS}}", "figures.a.bases is 'DARTS', not a list\n  write"),
        ("{a: {kind: contours, bases: []}}", "figures.a.bases: the list is empty"),
        ("{a: {kind: contours, indices: [-1]}}", "figures.a.indices[0] is -1\n  it should be gre"),
        ("{a: {kind: contours, title: ' '}}", "figures.a.title: ' ' is no readable text"),
        ("{a: {kind: contours, bases: [ENAS]}}", "figures.a.bases: the experiment has no 'ENAS'"),
        ("{a: {kind: contours, datasets: [digits]}}", "figures.a.datasets: the experiment has no"),
        ("{a: {kind: contours, learning_rates: [1.5]}}", "has no 1.5\n  use one of 0.025, 0.25"),
    ],
)
def test_a_bad_option_is_reported_with_its_line_and_a_fix(write, figures, message):
    write(figures)
    assert message in refused()


def test_every_problem_of_a_figure_is_reported_at_once(write):
    write("{a: {kind: contours, colour: red, title: 1, indices: [0, 0]}}")
    said = refused()
    assert all(f"figures.a.{key}" in said for key in ("colour", "title", "indices"))


def test_a_choice_stays_what_it_is():
    choice = Choice("contours", Options(bases=("DARTS",)))
    assert read_choice(choice) is choice


@pytest.fixture
def table(make_member):
    rows = [make_member(base, i, learning_rate=r)
            for base in ("DARTS", "ENAS") for i in (0, 1, 2) for r in (0.025, 0.25)]  # fmt: skip
    return pd.DataFrame(rows)


def test_without_options_every_member_is_shown(table):
    assert select(read_choice("contours"), table) is table


def test_options_choose_together_and_keep_the_order(table):
    choice = read_choice({"kind": "contours", "bases": ["ENAS"], "indices": [2, 0],
                          "learning_rates": [0.25]})  # fmt: skip
    chosen = select(choice, table)
    assert chosen[["base", "index", "learning_rate"]].to_numpy().tolist() == [
        ["ENAS", 0, 0.25],
        ["ENAS", 2, 0.25],
    ]
    assert list(chosen.index) == [0, 1]


def test_an_option_that_fits_no_member_is_an_error_that_lists_the_members(table):
    choice = read_choice({"kind": "contours", "indices": [7]})
    with pytest.raises(ConfigError, match=r"index is one of \[7\](?s:.*)indices: use one of 0, 1"):
        select(choice, table)


def test_a_table_without_rows_stays_for_the_figure_to_judge(table):
    assert select(read_choice({"kind": "contours", "bases": ["X"]}), table.iloc[:0]).empty
