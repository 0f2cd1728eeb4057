"""The figures that an experiment may name: kinds, options, and the members they show."""

import pandas as pd
import pytest
from experiment_files import edited

from orchestrator.config.experiment import load_experiment
from orchestrator.config.registry import FIGURE_KINDS, Choice, Options, read_choice, select
from results_schema.errors import ConfigError


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_a_name_alone_is_that_kind_with_its_defaults(kind):
    assert read_choice(kind) == read_choice({"kind": kind})
    assert read_choice(kind) == Choice(kind, FIGURE_KINDS[kind].options())


def test_options_are_read_and_can_be_set_from_outside(folder):
    figure = "{kind: accuracy_by_index, title: Two, bases: [SNAS], indices: [0, 2]}"
    (folder / "x.yaml").write_text(edited("{accuracy: accuracy_by_index}", f"{{a: {figure}}}"))
    options = load_experiment("x.yaml", overrides=["figures.a.indices=[1]"]).figures["a"].options
    assert (options.title, options.bases, options.indices) == ("Two", ("SNAS",), (1,))


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
