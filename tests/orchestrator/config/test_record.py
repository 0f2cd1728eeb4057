"""What a launch writes down of an experiment, so that all else reads the store alone."""

import json

import pytest
from experiment_files import GOOD, edited

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import record
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.genotype import Genotype
from results_schema.results import Results
from results_schema.store import open_store


def recorded(tmp_path, text: str) -> Results:
    (tmp_path / "odd.yaml").write_text(text)
    store = open_store(tmp_path / "results")
    record(load_experiment(tmp_path / "odd.yaml"), store)
    return Results(store)


def test_cells_are_reported_whole_each_once_whatever_the_grid_trains(tmp_path):
    cells = recorded(tmp_path, GOOD).cells("odd")
    assert len(cells) == 2 * 5
    assert list(cells["index"]) == [0, 1, 2, 3, 4] * 2
    snas = Genotype.from_json(json.loads(cells["genotype"].iloc[5]))
    assert (snas.width, snas.depth) == (4, 2)


def test_dead_nodes_count_only_in_the_columns_that_say_so(tmp_path):
    variants = edited("genotype: [DARTS, SNAS]", "genotype: [AmoebaNet]")
    results = recorded(tmp_path, edited("variants: paper4", "variants: paper13", variants))
    members, cells = results.members("odd"), results.cells("odd")
    for rows in (members, cells):
        fourth = next(row for row in rows.to_dict("records") if row["index"] == 4)
        assert (fourth["width"], fourth["depth"]) == (1.5, 3), "as Table 2 prints C4"
        assert (fourth["width_all_nodes"], fourth["depth_all_nodes"]) == (3.5, 3)
    assert "-w1.5d3-" in dict(zip(members["index"], members["trial_id"], strict=True))[4]


def test_an_experiment_may_name_cells_and_train_none_of_them(tmp_path):
    results = recorded(tmp_path, edited("dataset: [cifar10, cifar100]", "dataset: []"))
    assert results.experiments() == ["odd"]
    assert results.trials("odd").empty
    assert len(results.cells("odd")) == 10


def test_what_the_file_says_stands_in_the_store(tmp_path):
    results = recorded(tmp_path, edited("A claim.", "β > α, <b>always</b>"))
    said = json.loads(results.store.get(layout.experiment("odd")))
    assert said["claim"] == "β > α, <b>always</b>"
    assert said["recipes"]["cifar10"]["epochs"] == 30
    assert said["network"] == {"cells": 8, "channels": 16, "stem_stride": 1}


def test_cells_of_an_experiment_that_was_never_launched_are_an_error(tmp_path):
    with pytest.raises(ConfigError, match="no experiment 'even'"):
        recorded(tmp_path, GOOD).cells("even")
