"""The figures that an experiment may name: kinds, options, and the members they show."""

import pandas as pd
import pytest
from experiment_files import edited

from orchestrator.config.experiment import load_experiment
from orchestrator.config.registry import FIGURE_KINDS, Choice, read_choice, select
from results_schema.errors import ConfigError


@pytest.mark.parametrize("kind", FIGURE_KINDS)
def test_a_name_alone_is_that_kind_with_its_defaults(kind):
    defaults = Choice(kind, FIGURE_KINDS[kind].options())
    assert read_choice(kind) == read_choice({"kind": kind}) == defaults


def test_options_are_read_and_can_be_set_from_outside(folder):
    figure = "{kind: trend, title: Two, bases: [SNAS], colour: recipe.weight_decay}"
    (folder / "x.yaml").write_text(edited("{accuracy: accuracy_by_index}", f"{{a: {figure}}}"))
    overrides = ["figures.a.indices=[1]", "grid.recipe.weight_decay=[0.1]"]
    options = load_experiment("x.yaml", overrides=overrides).figures["a"].options
    assert (options.title, options.bases, options.indices) == ("Two", ("SNAS",), (1,))


def test_options_choose_members_together_and_keep_their_order(make_member):
    rows = [make_member(base, i, learning_rate=r)
            for base in ("DARTS", "ENAS") for i in (0, 1, 2) for r in (0.025, 0.25)]  # fmt: skip
    table = pd.DataFrame(rows)
    assert select(read_choice("contours"), table) is table
    options = {"bases": ["ENAS"], "indices": [2, 0], "learning_rates": [0.25]}
    choice = read_choice({"kind": "contours"} | options)
    chosen = select(choice, table)
    assert chosen[["base", "index", "learning_rate"]].to_numpy().tolist() == [
        ["ENAS", 0, 0.25],
        ["ENAS", 2, 0.25],
    ]
    assert list(chosen.index) == [0, 1]
    assert select(choice, table.iloc[:0]).empty
    missing = read_choice({"kind": "contours", "indices": [7]})
    with pytest.raises(ConfigError, match=r"index is one of \[7\](?s:.*)indices: use one of 0, 1"):
        select(missing, table)
