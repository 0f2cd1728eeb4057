"""The members that a figure shows."""

import pandas as pd
import pytest

from orchestrator.config.figure_choice import read_choice
from orchestrator.config.figure_selection import select
from results_schema.errors import ConfigError


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


def test_an_option_that_fits_no_member_is_an_error_that_tells_the_members(table):
    choice = read_choice({"kind": "contours", "indices": [7]})
    with pytest.raises(ConfigError, match=r"index is one of \[7\](?s:.*)indices: use one of 0, 1"):
        select(choice, table)


def test_a_table_without_rows_stays_for_the_figure_to_judge(table):
    assert select(read_choice({"kind": "contours", "bases": ["X"]}), table.iloc[:0]).empty
