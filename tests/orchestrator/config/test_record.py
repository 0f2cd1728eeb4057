"""What a launch records, and which members the store's experiment of its name keeps."""

import json
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from small_programs import documented

from orchestrator.config import record as module
from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.config.record import compare_stored, read_declared, record
from results_schema import layout
from results_schema.errors import ConfigError
from results_schema.results import Results, axes_of
from results_schema.store import Store

TEXT = """\
title: A title
claim: β > α, <b>always</b>
grid: {genotype: [DARTS, SNAS], variants: paper4, dataset: [digits, digit_pairs], seed: [0, 1]}
network: {cells: 8, channels: 16}
recipe: {epochs: 30}
landscape: {contour: {grid: 3}}
"""


@pytest.fixture
def launch(tmp_path: Path, store):
    """Records a launch; returns the ids of its trials."""
    file = tmp_path / "x.yaml"
    file.write_text(TEXT)

    def launch(*overrides: str, replace: bool = False) -> set[str]:
        experiment = load_experiment(file, overrides=overrides)
        record(experiment, store, replace=replace)
        return {member.spec.trial_id for member in experiment.members()}

    def dropped(*overrides: str) -> int:
        return len(compare_stored(load_experiment(file, overrides=overrides), store).dropped)

    called: Any = launch
    called.file, called.dropped = file, dropped
    return called


def test_launches_that_add_members_at_once_add_all(launch, store, monkeypatch):
    """One begins to record while another has read what is stored, and not yet written."""
    launch()
    compare, others = module.compare_stored, list[Thread]()

    def compare_slowly(experiment: Experiment, store: Store) -> Any:
        found = compare(experiment, store)
        if not others:
            others.append(Thread(target=launch, args=("recipe.epochs=50",)))
            others[0].start()
            others[0].join(0.5)
        return found

    monkeypatch.setattr(module, "compare_stored", compare_slowly)
    launch("recipe.epochs=40")
    others[0].join()
    members = Results(store).members("x")
    counts = members.groupby("recipe.epochs")["trial_id"].nunique()
    assert counts.to_dict() == {30: 40, 40: 40, 50: 40}


def test_members_of_other_settings_are_added_and_have_axes(launch, store):
    longer = ("recipe.epochs=40", "grid.genotype=[DARTS]", "grid.dataset=[digits]")
    small = ("network.channels=8", "precision=bf16", "grid.seed=[0]")
    for overrides in ((), longer, small):
        assert launch.dropped(*overrides) == 0
        launch(*overrides)
    results = Results(store)
    members, declared = results.members("x"), read_declared(store, "x")
    keys = ["network.channels", "precision", "recipe.epochs"]
    assert (declared.settings, declared.former) == (keys, [])
    assert list(axes_of(members)) == keys
    counts = members.groupby(["channels", "precision", "recipe.epochs"]).size()
    assert counts.to_dict() == {(16, "fp32", 30): 40, (16, "fp32", 40): 10, (8, "bf16", 30): 20}
    assert members["trial_id"].is_unique
    assert members[:5]["index"].tolist() == [0, 1, 2, 3, 4]
    assert set(results.surfaces("x")["trial_id"]) == set(members["trial_id"])
    assert len(results.cells("x")) == 10
    # The same launches again change nothing, and a narrower grid takes members of its own alone.
    for overrides in ((), small, longer):
        launch(*overrides)
        assert set(Results(store).members("x")["trial_id"]) == set(members["trial_id"])
    assert launch.dropped("grid.seed=[0]") == 20
    assert launch.dropped(*longer, "grid.seed=[1]") == 5
    assert launch.dropped("grid.dataset=[digits]", "recipe.epochs=50") == 0
    narrow = launch("grid.seed=[1]")
    assert len(Results(store).members("x")) == 20 + 10 + 20
    former = read_declared(store, "x").former
    assert set(former) == launch() - narrow
    # Replaced as a whole, it has the members of one launch, without axes.
    own = launch(*longer, replace=True)
    members, declared = Results(store).members("x"), read_declared(store, "x")
    assert (set(members["trial_id"]), axes_of(members, varied=False)) == (own, {})
    assert (declared.settings, len(declared.former)) == ([], 60)
    assert len(Results(store).cells("x")) == 5


@pytest.mark.parametrize(
    ("first", "second", "dropped"),
    [
        (["grid.recipe.epochs=[30, 40]"], [], 40),
        ([], ["grid.recipe.epochs=[40]"], 40),
        ([], ["grid.recipe.epochs=[30, 40]"], 0),
        ([], ["grid.variants=none", "recipe.name=table1", "grid.dataset=[cifar10]"], 0),
        ([], ["recipe.epochs=40", "stop={rule: median, after: 3}"], 40),
        (["stop={rule: median, after: 3}"], ["recipe.epochs=40"], 40),
        (["grid.recipe.epochs=[3, 4]"], ["grid.recipe.epochs=[3]", "network.channels=8"], 0),
    ],
)
def test_what_the_grid_or_early_stopping_leaves_out_is_dropped(launch, first, second, dropped):
    launch(*first)
    assert launch.dropped(*second) == dropped


def test_a_program_adds_members_of_other_parameters(tmp_path, store):
    path = documented(tmp_path / "lab")
    counts = []
    for overrides in ([], ["params.epochs=9"], ["params.momentum=0.5"], ["version=2"]):
        experiment = load_experiment(path, overrides=overrides)
        counts.append(len(compare_stored(experiment, store).dropped))
        record(experiment, store)
    assert counts == [0, 0, 0, 24]


def test_a_damaged_table_is_replaced(launch, store):
    launch()
    store.put(layout.members("x"), b"PAR1")
    assert launch.dropped("grid.seed=[0]") == 0
    launch("grid.seed=[0]")
    store.put(layout.experiment("x"), b"{}")
    assert launch.dropped("recipe.epochs=40") == 20
    assert len(launch("recipe.epochs=40")) == len(Results(store).members("x")) == 40


def test_every_cell_is_recorded_once_even_if_none_is_trained(launch, store):
    launch("grid.dataset=[]", "grid.variants=paper13", "grid.genotype=[DARTS, AmoebaNet]")
    results = Results(store)
    assert results.experiments() == ["x"]
    assert results.trials("x").empty
    cells = results.cells("x")
    assert list(cells["index"]) == [*range(14)] * 2
    fourth = cells.iloc[14 + 4]
    assert (fourth["width"], fourth["depth"]) == (1.5, 3), "as Table 2 prints C4"
    assert (fourth["width_all_nodes"], fourth["depth_all_nodes"]) == (3.5, 3)
    with pytest.raises(ConfigError, match="no experiment 'even'"):
        results.cells("even")


def test_what_the_file_says_stands_in_the_store(launch, store):
    launch()
    declared = json.loads(store.get(layout.experiment("x")))
    assert declared["claim"] == "β > α, <b>always</b>"
    assert declared["recipes"]["digits"]["epochs"] == 30
    assert declared["network"] == {"cells": 8, "channels": 16, "stem_stride": 1}
    assert not declared.keys() & {"settings", "former", "program", "version", "params", "stop"}
    profile = launch.file.with_name("small.yaml")
    profile.write_text("description: d\ndatasets: {digits: digits_32}\n")
    record(load_experiment(launch.file, profile=str(profile)), store)
    members = Results(store).members("x@small")
    data = members[["profile", "named_dataset", "dataset"]].drop_duplicates()
    assert data.to_numpy().tolist() == [
        ["small", "digits", "digits_32"],
        ["small", "digit_pairs", "digit_pairs"],
    ]
