"""The numbers of Figure 9, from members joined with their trials."""

import math

import pandas as pd
import pytest

from orchestrator.figures.accuracy import RESULTS, accuracy_by_index_data
from orchestrator.figures.members import COLUMNS
from results_schema.errors import ConfigError


def test_a_point_is_its_trial_in_percent(join, make_member):
    trials = join(
        [make_member("DARTS", 0), make_member("DARTS", 1, width=2.5, depth=4)],
        {"cifar10-DARTS-0-0.025-0": ("done", 0.9725), "cifar10-DARTS-1-0.025-0": ("done", 0.965)},
    )
    (panel,) = accuracy_by_index_data(trials).panels
    (line,) = panel.series
    base, variant = line.points
    assert line.base_accuracy == base.mean == pytest.approx(97.25)
    assert variant.mean == pytest.approx(96.5)
    assert (variant.index, variant.variant, variant.width, variant.depth) == (
        1,
        "DARTS-conn-1",
        2.5,
        4,
    )
    assert variant.parameters == 3_300_000
    assert math.isnan(variant.deviation)
    assert [run.trial_id for run in variant.done] == ["cifar10-DARTS-1-0.025-0"]


def test_panels_keep_the_order_of_the_experiment(join, make_member):
    members = [
        make_member(base, index, named_dataset=named, dataset=dataset)
        for base in ("NASNet", "AmoebaNet", "DARTS")
        for named, dataset in (("cifar100", "cifar100"), ("cifar10", "digits"))
        for index in (1, 0)
    ]
    data = accuracy_by_index_data(join(members, {}))
    assert [(p.base, p.named_dataset, p.dataset) for p in data.panels] == [
        (base, *dataset)
        for base in ("NASNet", "AmoebaNet", "DARTS")
        for dataset in (("cifar100", "cifar100"), ("cifar10", "digits"))
    ]
    assert all([p.index for p in panel.series[0].points] == [0, 1] for panel in data.panels)


def test_seeds_are_averaged(join, make_member):
    members = [make_member("DARTS", 3, seed=seed) for seed in (2, 0, 1)]
    accuracies = {0: 0.96, 1: 0.97, 2: 0.98}
    results = {m["trial_id"]: ("done", accuracies[m["seed"]]) for m in members}
    (point,) = accuracy_by_index_data(join(members, results)).points
    assert point.mean == pytest.approx(97)
    assert point.deviation == pytest.approx(1)
    assert [(run.seed, round(run.accuracy, 9)) for run in point.done] == [(0, 96), (1, 97), (2, 98)]


def test_missing_trials_are_in_no_mean_and_diverged_ones_count_as_accuracy_0(join, make_member):
    members = [make_member("DARTS", 1, seed=seed) for seed in range(5)]
    ids = [m["trial_id"] for m in members]
    results = {
        ids[0]: ("done", 0.9),
        ids[1]: ("diverged", 0.1),
        ids[2]: ("diverged", math.nan),
        ids[3]: ("done", math.nan),
    }
    (point,) = accuracy_by_index_data(join(members, results)).points
    assert point.mean == pytest.approx(30)
    assert point.deviation == pytest.approx(51.96, abs=0.01)
    assert [run.trial_id for run in point.diverged] == ids[1:3]
    assert [run.accuracy for run in point.diverged] == [0, 0]
    assert point.diverged[0].last == pytest.approx(10)
    assert math.isnan(point.diverged[1].last)
    assert point.missing == tuple(ids[3:])


def test_an_untrained_base_leaves_no_line(join, make_member):
    members = [make_member("DARTS", 0), make_member("DARTS", 1)]
    (panel,) = accuracy_by_index_data(join(members, {members[1]["trial_id"]: ("done", 0.9)})).panels
    assert math.isnan(panel.series[0].base_accuracy)
    assert math.isnan(panel.series[0].points[0].mean)
    assert panel.series[0].points[0].parameters is None


def test_learning_rates_are_series_of_one_panel(join, make_member):
    members = [make_member("DARTS", 0, learning_rate=rate) for rate in (0.25, 0.0025, 0.025)]
    data = accuracy_by_index_data(join(members, {}))
    (panel,) = data.panels
    assert [line.learning_rate for line in panel.series] == [0.0025, 0.025, 0.25]
    assert data.learning_rates == [0.0025, 0.025, 0.25]


def test_a_member_named_twice_counts_once(join, make_member):
    row = make_member("DARTS", 0)
    (point,) = accuracy_by_index_data(join([row, row], {row["trial_id"]: ("done", 0.9)})).points
    assert len(point.done) == 1


def test_one_bad_trial_does_not_set_the_range(join, make_member):
    members = [make_member("DARTS", index) for index in range(14)]
    results = {m["trial_id"]: ("done", 0.97 - 0.001 * m["index"]) for m in members}
    results[members[5]["trial_id"]] = ("done", 0.55)
    results[members[6]["trial_id"]] = ("diverged", 0.1)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert 95 < panel.low < 95.7
    assert 97 < panel.high < 97.5
    assert panel.has_below
    assert not panel.has_above


def test_a_diverged_trial_is_below_the_others_whatever_it_reached(join, make_member):
    members = [make_member("DARTS", index) for index in range(3)]
    results = {m["trial_id"]: ("done", 0.1 * (1 + m["index"])) for m in members}
    results[members[2]["trial_id"]] = ("diverged", 0.15)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert panel.has_below


def test_a_base_that_diverged_does_not_stretch_the_range(join, make_member):
    members = [make_member("DARTS", index, seed=seed) for index in range(3) for seed in range(2)]
    results = {m["trial_id"]: ("done", 0.95 + 0.01 * m["index"]) for m in members}
    results[members[0]["trial_id"]] = ("diverged", 0.1)
    (panel,) = accuracy_by_index_data(join(members, results)).panels
    assert panel.series[0].base_accuracy == pytest.approx(47.5)
    assert panel.low > 90
    assert panel.has_below


def test_nothing_trained_yet_still_makes_panels(join, make_member):
    data = accuracy_by_index_data(join([make_member("DARTS", i) for i in range(14)], {}))
    (panel,) = data.panels
    assert (panel.low, panel.high) == (0, 100)
    assert sum(len(point.missing) for point in data.points) == 14


@pytest.mark.parametrize("column", [*COLUMNS, *RESULTS])
def test_a_lacking_column_is_named(join, make_member, column):
    trials = join([make_member("DARTS", 0)], {}).drop(columns=column)
    with pytest.raises(ConfigError, match=f"lack {column}"):
        accuracy_by_index_data(trials)


def test_no_trials_at_all_is_an_error():
    with pytest.raises(ConfigError, match="no trials"):
        accuracy_by_index_data(pd.DataFrame(columns=[*COLUMNS, *RESULTS]))


def test_an_empty_place_in_a_member_is_an_error(join, make_member):
    trials = join([make_member("DARTS", 0), {**make_member("DARTS", 1), "base": None}], {})
    with pytest.raises(ConfigError, match=r"column base .* missing values"):
        accuracy_by_index_data(trials)
