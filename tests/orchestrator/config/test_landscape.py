"""What an experiment may say of landscapes, and the surfaces that it means."""

import pytest

from orchestrator.config.experiment import Experiment, load_experiment

HEAD = """title: x
claim: x
grid: {genotype: [DARTS], variants: main_text, dataset: [cifar10]}
recipe: {epochs: 600}
"""


@pytest.fixture
def load(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def call(landscape: str, profile: str = "", overrides=()) -> Experiment:
        (tmp_path / "x.yaml").write_text(f"{HEAD}landscape: {landscape}\n")
        if profile:
            (tmp_path / "small.yaml").write_text(f"description: small\nlandscape: {profile}\n")
        return load_experiment(
            "x.yaml", profile="small.yaml" if profile else None, overrides=overrides
        )

    return call


def test_without_a_word_of_it_there_is_no_surface(load):
    assert load("{}").surfaces() == []


def test_a_contour_of_every_trial_as_it_ended_on_the_papers_grid(load):
    experiment = load("{contour: {}}")
    surfaces = experiment.surfaces()
    assert [s.trial for s in surfaces] == [m.spec for m in experiment.members()]
    assert {(s.epoch, s.kind, s.rows, s.columns, s.extent, s.subset) for s in surfaces} == {
        (600, "contour", 51, 51, 1.0, 0)
    }


def test_variance_and_curvature_take_a_subset_by_default(load):
    surfaces = load("{gradient_variance: {}, curvature: {}}").surfaces()
    assert {(s.kind, s.rows, s.subset) for s in surfaces} == {
        ("gradient_variance", 21, 1000),
        ("curvature", 1, 1000),
    }
    whole = load("{gradient_variance: {subset: 0, grid: [3, 5], by_parameter: true}}").surfaces()
    assert {(s.rows, s.columns, s.subset, s.by_parameter) for s in whole} == {(3, 5, 0, True)}


def test_a_subset_as_large_as_the_split_is_the_whole_and_has_no_seed(load):
    kinds = "{contour: {subset: %d, subset_seed: 3}, curvature: {subset: 9999, subset_seed: 1}}"
    contour, curvature = load(kinds % 10_000).surfaces()[:2]
    assert (contour.subset, contour.subset_seed) == (0, 0)
    assert (curvature.subset, curvature.subset_seed) == (9999, 1)
    assert contour in load("{contour: {}}").surfaces()
    centre = "{contour: {grid: 1, pairs: 3, seed: 4, extent: 0.5}}"
    assert len(load(centre).surfaces()) == 5, "no pair of directions changes the centre"


def test_epochs_pairs_indices_and_extents_choose(load):
    surfaces = load(
        "{contour: {epochs: [0, 300, last, 600], pairs: 2, indices: [0, 3], extents: {C3: 0.2}}}"
    ).surfaces()
    assert len(surfaces) == 2 * 3 * 2
    assert {s.epoch for s in surfaces} == {0, 300, 600}, "the last is one of them"
    assert {s.pair for s in surfaces} == {0, 1}
    assert {s.extent for s in surfaces} == {1.0, 0.2}
    narrow = {s.trial.trial_id for s in surfaces if s.extent == 0.2}
    assert len(narrow) == 1


def test_a_grid_of_1_stays_under_a_profile(load):
    profile = "{gradient_variance: {grid: 9, subset: 5}}"
    surfaces = load("{gradient_variance: {grid: 1}}", profile).surfaces()
    assert {(s.rows, s.columns, s.subset) for s in surfaces} == {(1, 1, 5)}


def test_a_profile_changes_kinds_that_the_experiment_wants_alone(load):
    profile = "{contour: {grid: 11}, curvature: {subset: 5}}"
    surfaces = load("{contour: {extent: 0.5}}", profile).surfaces()
    assert {(s.kind, s.rows, s.extent) for s in surfaces} == {("contour", 11, 0.5)}
    option = ["landscape.contour.grid=7"]
    assert {s.rows for s in load("{contour: {}}", profile, option).surfaces()} == {7}
