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


def test_surfaces_of_every_trial_have_the_papers_sizes(load):
    assert load("{}").surfaces() == []
    experiment = load("{contour: {}, gradient_variance: {}, curvature: {}}")
    surfaces = experiment.surfaces()
    assert [s.trial for s in surfaces[::3]] == [m.spec for m in experiment.members()]
    assert {(s.epoch, s.kind, s.rows, s.columns, s.extent, s.subset) for s in surfaces} == {
        (600, "contour", 51, 51, 1.0, 0),
        (600, "gradient_variance", 21, 21, 1.0, 1000),
        (600, "curvature", 1, 1, 1.0, 1000),
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


@pytest.mark.parametrize(
    ("landscape", "profile", "sizes"),
    [
        # A grid of 1 asks for a number.
        (
            "{gradient_variance: {grid: 1}}",
            "{gradient_variance: {grid: 9, subset: 5}}",
            ("gradient_variance", 1, 1.0, 5),
        ),
        (
            "{contour: {extent: 0.5}}",
            "{contour: {grid: 11}, curvature: {subset: 5}}",
            ("contour", 11, 0.5, 0),
        ),
    ],
)
def test_a_profile_changes_kinds_that_the_experiment_wants_alone(load, landscape, profile, sizes):
    surfaces = load(landscape, profile).surfaces()
    assert {(s.kind, s.rows, s.extent, s.subset) for s in surfaces} == {sizes}
    kind = sizes[0]
    option = [f"landscape.{kind}.grid=7"]
    assert {s.rows for s in load(landscape, profile, option).surfaces()} == {7}
