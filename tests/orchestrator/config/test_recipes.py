"""The paper's recipes, and what an experiment makes of them."""

from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config.experiment import Experiment, load_experiment
from results_schema.errors import ConfigError, SpecError
from results_schema.trial import NetworkSpec, Recipe
from workers.data.catalog import DATASETS

EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def load(tmp_path, recipe: str, dataset: str = "cifar10", **options) -> Experiment:
    path = tmp_path / "x.yaml"
    path.write_text(
        f"title: x\nclaim: x\ngrid: {{genotype: [DARTS], dataset: [{dataset}]}}\nrecipe: {recipe}\n"
    )
    return load_experiment(path, **options)


def spec(experiment: Experiment):
    (member,) = experiment.members()
    return member.spec


def test_section_4_has_no_regularisation_and_is_the_default(tmp_path):
    recipe = spec(load(tmp_path, "{}")).recipe
    assert recipe == spec(load(tmp_path, "{name: section4}")).recipe == Recipe()
    assert (recipe.cutout, recipe.auxiliary, recipe.drop_path) == (0, 0, 0)


def test_table_1_regularises_as_section_a4_says(tmp_path):
    recipe = spec(load(tmp_path, "{name: table1}")).recipe
    assert recipe == Recipe(epochs=600, cutout=16, auxiliary=0.4, drop_path=0.2)


def test_single_fields_win_over_the_name_and_options_over_both(tmp_path):
    text = "{name: table1, cutout: 0, epochs: 300}"
    recipe = spec(load(tmp_path, text, overrides=["recipe.epochs=2"])).recipe
    assert recipe == Recipe(epochs=2, cutout=0, auxiliary=0.4, drop_path=0.2)


def test_tiny_imagenet_trains_half_as_long_behind_a_strided_stem(tmp_path):
    tiny = spec(load(tmp_path, "{}", "tiny_imagenet"))
    assert tiny.recipe.epochs == 300
    assert tiny.network == NetworkSpec(stem_stride=2)


def test_laptop_puts_larger_digits_where_the_auxiliary_head_needs_them(tmp_path):
    laptop = str(EXPERIMENTS / "profiles/laptop.yaml")
    assert spec(load(tmp_path, "{}", profile=laptop)).dataset == "digits"
    assert spec(load(tmp_path, "{name: table1}", profile=laptop)).dataset == "digits_32"
    tiny = spec(load(tmp_path, "{name: table1}", "tiny_imagenet", profile=laptop))
    assert (tiny.dataset, tiny.network.stem_stride) == ("digit_scenes", 2)


def test_the_auxiliary_head_is_refused_where_the_images_are_too_small(tmp_path):
    with pytest.raises(SpecError, match="auxiliary"):
        load(tmp_path, "{name: table1}", "digits").members()


def test_the_auxiliary_head_is_refused_where_it_would_train_on_one_image(tmp_path):
    with pytest.raises(SpecError, match="batch_size of 123 leaves one of 100000"):
        load(tmp_path, "{name: table1, batch_size: 123}", "tiny_imagenet").members()
    assert spec(load(tmp_path, "{batch_size: 123}", "tiny_imagenet")).recipe.batch_size == 123


def test_statistics_of_another_data_set_follow_its_stand_in(tmp_path):
    laptop = str(EXPERIMENTS / "profiles/laptop.yaml")
    asked = "{statistics: cifar10}"
    assert spec(load(tmp_path, asked, "cifar100")).recipe.statistics == "cifar10"
    assert spec(load(tmp_path, asked, "cifar100", profile=laptop)).recipe.statistics == "digits"


def test_a_trial_names_the_version_of_another_data_sets_statistics(tmp_path, monkeypatch):
    asked = "{statistics: cifar10}"
    before = spec(load(tmp_path, asked, "cifar100"))
    changed = replace(DATASETS["cifar10"], preprocessing=2)
    monkeypatch.setitem(DATASETS, "cifar10", changed)
    after = spec(load(tmp_path, asked, "cifar100"))
    assert (before.statistics_preprocessing, after.statistics_preprocessing) == (1, 2)
    assert before.trial_id != after.trial_id
    assert spec(load(tmp_path, "{}", "cifar100")).statistics_preprocessing == 0


@pytest.mark.parametrize(
    ("recipe", "same"),
    [
        ("{statistics: cifar10}", "{}"),
        ("{drop_path_growth: constant}", "{}"),
        ("{batch_size: 60000}", "{batch_size: 50000}"),
        ("{evaluation_batch: 20000}", "{evaluation_batch: 10000}"),
        ("{cutout: 64}", "{cutout: 63}"),
    ],
)
def test_a_field_without_effect_names_no_other_trial(tmp_path, recipe, same):
    assert spec(load(tmp_path, recipe)).trial_id == spec(load(tmp_path, same)).trial_id


def test_statistics_of_other_channels_are_refused(tmp_path):
    with pytest.raises(SpecError, match="cifar10 has statistics of 3 channels"):
        load(tmp_path, "{statistics: cifar10}", "digits").members()


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("{name: table2}", "x.yaml:4: recipe.name: unknown recipe 'table2'"),
        ("{cutout: -1}", "x.yaml:4: recipe.cutout is -1"),
        ("{drop_path: 1.0}", "x.yaml:4: recipe.drop_path is 1.0"),
        ("{drop_pth: 0.2}", "did you mean drop_path"),
        ("{version: 2}", "version"),
        ("{schedule: linear}", "use one of cosine, cosine_shifted, constant"),
        ("table1", "recipe"),
    ],
)
def test_a_bad_choice_is_told_with_its_place(tmp_path, recipe, told):
    with pytest.raises(ConfigError) as refused:
        load(tmp_path, recipe)
    assert told in str(refused.value)
