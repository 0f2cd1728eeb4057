"""Experiments from files, profiles and overrides, with their recipes."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_files import GOOD, PROFILE, edited, refused
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.experiment import Experiment, find_files, load_experiment
from orchestrator.config.registry import Choice
from results_schema.errors import ConfigError, SpecError
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.data.catalog import DATASETS


def test_a_file_says_what_an_experiment_is(folder):
    experiment = load_experiment("x.yaml")
    assert (experiment.name, experiment.title, experiment.claim) == ("x", "A title", "A claim.")
    assert experiment.profile is None
    assert experiment.network == NetworkSpec(cells=8, channels=16)
    assert experiment.recipe.of("cifar10") == Recipe(epochs=30, weight_decay=0.0)
    assert experiment.figures == {"accuracy": Choice("accuracy_by_index")}


def test_what_a_file_leaves_out_is_the_papers(folder):
    (folder / "y.yml").write_text(
        "title: t\nclaim: c\ngrid: {genotype: [DARTS_CONN1], dataset: [digits]}\n"
    )
    (member,) = load_experiment("y.yml").members()
    assert (member.base, member.variant, member.index) == ("DARTS_CONN1", "DARTS_CONN1", 0)
    assert (member.spec.network, member.spec.recipe) == (NetworkSpec(20, 36), Recipe(epochs=600))
    assert (member.spec.learning_rate, member.spec.seed) == (0.025, 0)
    assert member.spec.precision == "fp32"


def test_members_are_the_product_in_a_fixed_order(folder):
    members = load_experiment("x.yaml").members()
    assert [
        (m.named_dataset, m.spec.learning_rate, m.spec.seed, m.base, m.index) for m in members
    ] == [
        (dataset, rate, seed, base, index)
        for dataset in ("cifar10", "cifar100")
        for rate in (0.025, 0.25)
        for seed in (0, 1)
        for base in ("DARTS", "SNAS")
        for index in range(5)
    ]
    assert [m.variant for m in members[:5]] == ["DARTS", "seed 1", "seed 2", "seed 3", "seed 4"]
    assert members[5].spec.genotype == named("SNAS")
    assert len({m.spec.trial_id for m in members}) == len(members)


def test_an_alias_is_the_cell_it_stands_for(folder):
    aliased = load_experiment("x.yaml", overrides=["grid.genotype=[DARTS_V2, SNAS_MILD]"])
    assert aliased == load_experiment("x.yaml")
    assert "grid.genotype: 'DARTS' given more than once" in refused(
        overrides=["grid.genotype=[DARTS, DARTS_V2]"]
    )


def test_a_name_that_the_store_cannot_use_is_refused(folder):
    (folder / "my exp.yaml").write_text(GOOD)
    assert refused("my exp.yaml").startswith("my exp.yaml: 'my exp' cannot name a file")
    (folder / "-x.yaml").write_text(GOOD)
    assert "cannot name a file" in refused("-x.yaml")


def test_a_file_that_is_not_there_is_reported_with_the_one_that_is(folder):
    assert refused("y.yaml") == "y.yaml: there is no such file\n  did you mean x.yaml?"


def test_an_experiment_cannot_be_changed_after_its_check(folder):
    experiment = load_experiment("x.yaml")
    with pytest.raises(ValueError, match="frozen"):
        experiment.title = "Other"


def test_an_experiment_made_without_a_file_is_checked_as_well():
    with pytest.raises(ValueError, match="unknown genotype"):
        Experiment.model_validate(
            {"name": "x", "title": "t", "claim": "c", "grid": {"genotype": ("DART",)}}
        )


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("junk") / "good.yaml"
    path.write_text(GOOD)
    return path


ENDINGS = ["[]", "{}", "null", "x", "'", '"', "*a", "&a", "!!set", ".nan", "-1", "[[0]]", "[1, a]"]
ENDINGS += ["uniform", "{mode: profile, slots: [2]}", "{zoo: PDARTS}", "[{text: x, name: 1}]"]
ENDINGS += ["{a: {b: [c]}}", "{epochs: [1]}", "{cells: 1e9}", "{1: 2}", "é", "[DARTS]", "paper4"]
STARTS = [
    "title: ",
    "claim: ",
    "grid:\n",
    "  genotype: ",
    "  seed: ",
    "  learning_rate: ",
    "- ",
    "\t",
]
STARTS += ["network: ", "recipe: ", "figures: ", "  variants: ", "  dataset: [cifar10]\n"]
STARTS += [
    "  variants:\n",
    "    connections: ",
    "    operations: ",
    "    indices: ",
    "  reconcat: ",
]
STARTS += ["  - zoo: ", "  - file: ", "  - text: ", "  - name: ", "    normal: ", "    mode: "]
pieces = st.sampled_from(
    [*STARTS, *(f"{line}\n" for line in [*ENDINGS, *GOOD.splitlines()])],
)


@given(st.binary(max_size=60) | st.lists(pieces, max_size=14).map(lambda p: "".join(p).encode()))
def test_a_junk_file_is_refused_with_its_name_and_nothing_else_happens(good, content):
    path = good.parent / "junk.yaml"
    path.write_bytes(content)
    try:
        load_experiment(path).members()
    except ConfigError as error:
        assert str(error).startswith(str(path))


@given(st.text(max_size=30) | st.from_regex(r"(grid|recipe|network)\.[a-z]{1,6}=.{0,12}"))
def test_a_junk_override_is_refused_with_its_place_and_nothing_else_happens(good, text):
    try:
        load_experiment(good, overrides=[text]).members()
    except ConfigError as error:
        assert str(error).startswith("--set")


def test_checking_an_experiment_imports_nothing_slow(folder):
    code = """
import sys
from orchestrator.config.experiment import load_experiment
load_experiment("x.yaml", profile="small").members()
slow = {"torch", "ray", "plotly", "pandas", "pyarrow", "sklearn"} & set(sys.modules)
sys.exit(f"imported {sorted(slow)}" if slow else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_profile_changes_sizes_and_data_sets_but_not_their_names(folder):
    experiment = load_experiment("x.yaml", profile="small")
    assert experiment.profile == "small"
    assert experiment.network == NetworkSpec(cells=5, channels=16)
    assert experiment.recipe.of("cifar10") == Recipe(epochs=2, weight_decay=0.0)
    reported = {
        (m.named_dataset, m.spec.dataset, m.spec.preprocessing) for m in experiment.members()
    }
    assert reported == {
        ("cifar10", "digits", DATASETS["digits"].preprocessing),
        ("cifar100", "cifar100", DATASETS["cifar100"].preprocessing),
    }


@pytest.mark.parametrize("home", ["", "experiments/", "experiments/deep/down/"])
@pytest.mark.parametrize("profiles", ["profiles/", "experiments/profiles/"])
def test_a_profile_is_found_from_every_folder_below(folder, home, profiles):
    (folder / "profiles/small.yaml").unlink()
    for place in (home, profiles):
        (folder / place).mkdir(parents=True, exist_ok=True)
    (folder / home / "x.yaml").write_text(GOOD)
    (folder / profiles / "tiny.yaml").write_text(PROFILE)
    assert load_experiment(f"{home}x.yaml", profile="tiny").recipe.of("cifar10").epochs == 2


def test_the_nearest_profile_of_a_name_wins(folder):
    (folder / "near/profiles").mkdir(parents=True)
    (folder / "near/x.yaml").write_text(GOOD)
    (folder / "near/profiles/small.yaml").write_text(edited("epochs: 2", "epochs: 3", PROFILE))
    assert load_experiment("near/x.yaml", profile="small").recipe.of("cifar10").epochs == 3
    by_path = load_experiment("near/x.yaml", profile="profiles/small.yaml")
    assert (by_path.recipe.of("cifar10").epochs, by_path.profile) == (2, "small")


def test_an_unknown_profile_is_reported_with_those_that_exist(folder):
    (folder / "profiles/other.yaml").write_text(PROFILE)
    assert refused(profile="smal") == (
        "--profile: there is no profile 'smal'\n  did you mean small? use one of other, small"
    )
    assert refused(profile="profiles/none.yaml").startswith("profiles/none.yaml: there is no such")
    assert "there is no profile '../x'" in refused(profile="../x")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("recipe.epochs: 2", "recipe.epochs: two", "small.yaml:6: recipe.epochs is 'two'"),
        ("recipe.epochs: 2", "recipe.epoch: 2", "small.yaml:6: unknown key recipe.epoch"),
        ("recipe.epochs: 2", "recipe..epochs: 2", "small.yaml:6: 'recipe..epochs' is no path"),
        ("recipe.epochs: 2", "title.x: 2", "small.yaml:6: title.x cannot be set: title is 'A ti"),
        ("recipe.epochs: 2", "grid.seed: [0, x]", "small.yaml:6: grid.seed[1] is 'x', not a who"),
        ("  recipe.epochs: 2", "  grid.seed:\n  - 0\n  - x", "small.yaml:8: grid.seed[1] is 'x'"),
        ("recipe.epochs: 2", "network.cells: 2", "small.yaml:6: set.network.cells is given twice"),
        ("cifar10: digits", "cifar10: digit", "small.yaml:3: datasets.cifar10: unknown data set"),
        ("cifar10: digits", "cifar: digits", "small.yaml:3: datasets.cifar: unknown data set 'ci"),
        ("description: Small.", "", "small.yaml:1: description is missing"),
        ("datasets:", "data:", "small.yaml:2: unknown key data\n  did you mean datasets?"),
        ("set:", "sets:", "small.yaml:4: unknown key sets\n  did you mean set or"),
        ("set:\n", "set: 3\nx:\n", "small.yaml:4: set is 3, not keys and values"),
    ],
)
def test_a_bad_value_of_a_profile_is_blamed_on_the_profile(folder, old, new, message):
    (folder / "profiles/small.yaml").write_text(edited(old, new, PROFILE))
    reported = refused(profile="small")
    assert f"profiles/{message}" in reported
    assert "x.yaml" not in reported


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "recipe.epochs=two",
            "--set recipe.epochs=two: recipe.epochs is 'two', not a whole number",
        ),
        ("recipe.epochs=", "--set recipe.epochs=: recipe.epochs is null"),
        ("recipe.version=2", "--set recipe.version=2: unknown key recipe.version"),
        ("recipee.epochs=2", "--set recipee.epochs=2: unknown key recipee\n  did you mean recipe?"),
        ("grid.genotype=[DART]", "--set grid.genotype=[DART]: grid.genotype[0]: unknown genotype"),
        ("grid.genotype=DARTS", "grid.genotype is 'DARTS', not a list\n  write it in brackets: [D"),
        ("grid.variants=paper13", "--set grid.variants=paper13: grid.variants: SNAS has no conn"),
        ("grid={}", "--set grid={}: grid.genotype is missing"),
        ("network.channels=5", "--set network.channels=5: network.channels is 5\n  use an even"),
        ("grid.genotype.0=ENAS", "--set grid.genotype.0=ENAS: grid.genotype.0 cannot be set"),
        ("grid.seed=[1, 2", "--set grid.seed=[1, 2: not YAML: while parsing a flow sequence"),
        ("grid.seed={a: 1, a: 2}", "--set grid.seed={a: 1, a: 2}: a is given twice"),
        ("title=!!python/name:os.system", "tag:yaml.org,2002:python/name:os.system is not allowed"),
        ("grid", "--set grid: no value is given\n  write --set recipe.epochs=2"),
        ("=2", "--set =2: '' is no path of keys"),
        ("a..b=2", "--set a..b=2: 'a..b' is no path of keys"),
        (".".join("a" * 5000) + "=2", "is no path of keys"),
        ("\udcff=2", "is no path of keys"),
        ("title=\udcff", "not YAML"),
    ],
)
def test_a_bad_override_is_blamed_on_the_command_line(folder, override, message):
    reported = refused(overrides=[override])
    assert message in reported
    assert "x.yaml" not in reported
    reported.encode()


def test_overrides_come_last_and_the_last_one_wins(folder):
    overrides = ["recipe.epochs=3", "grid.genotype=[ENAS]", "recipe.epochs=4", "title=Other: it"]
    assert "title is {'Other': 'it'}, not text" in refused(overrides=overrides)
    overrides[-1] = "title='Other: it'"
    experiment = load_experiment("x.yaml", profile="small", overrides=overrides)
    assert (experiment.recipe.of("cifar10").epochs, experiment.network.cells) == (4, 5)
    assert experiment.title == "Other: it"
    assert {member.base for member in experiment.members()} == {"ENAS"}


@given(
    epochs=st.integers(1, 2**31 - 1),
    rates=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
)
def test_what_is_set_arrives_bit_for_bit(good, epochs, rates, seeds):
    overrides = [f"recipe.epochs={epochs}", f"grid.learning_rate={json.dumps(rates)}"]
    experiment = load_experiment(good, overrides=[*overrides, f"grid.seed={json.dumps(seeds)}"])
    assert experiment.recipe.of("cifar10").epochs == epochs
    assert experiment.grid.learning_rate == tuple(rates)
    assert experiment.grid.seed == tuple(seeds)
    assert len({m.spec.trial_id for m in experiment.members()}) == len(experiment.members())


EXPERIMENTS = Path(__file__).parents[3] / "experiments"


def with_recipe(tmp_path, recipe: str, dataset: str = "cifar10", **options) -> Experiment:
    path = tmp_path / "x.yaml"
    path.write_text(
        f"title: x\nclaim: x\ngrid: {{genotype: [DARTS], dataset: [{dataset}]}}\nrecipe: {recipe}\n"
    )
    return load_experiment(path, **options)


def spec(experiment: Experiment):
    (member,) = experiment.members()
    return member.spec


def test_section_4_has_no_regularisation_and_is_the_default(tmp_path):
    recipe = spec(with_recipe(tmp_path, "{}")).recipe
    assert recipe == spec(with_recipe(tmp_path, "{name: section4}")).recipe == Recipe()
    assert (recipe.cutout, recipe.auxiliary, recipe.drop_path) == (0, 0, 0)


def test_table_1_regularises_as_section_a4_says(tmp_path):
    recipe = spec(with_recipe(tmp_path, "{name: table1}")).recipe
    assert recipe == Recipe(epochs=600, cutout=16, auxiliary=0.4, drop_path=0.2)


def test_single_fields_win_over_the_name_and_options_over_both(tmp_path):
    text = "{name: table1, cutout: 0, epochs: 300}"
    recipe = spec(with_recipe(tmp_path, text, overrides=["recipe.epochs=2"])).recipe
    assert recipe == Recipe(epochs=2, cutout=0, auxiliary=0.4, drop_path=0.2)


def test_tiny_imagenet_trains_half_as_long_behind_a_strided_stem(tmp_path):
    tiny = spec(with_recipe(tmp_path, "{}", "tiny_imagenet"))
    assert tiny.recipe.epochs == 300
    assert tiny.network == NetworkSpec(stem_stride=2)


def test_laptop_puts_larger_digits_where_the_auxiliary_head_needs_them(tmp_path):
    laptop = str(EXPERIMENTS / "profiles/laptop.yaml")
    assert spec(with_recipe(tmp_path, "{}", profile=laptop)).dataset == "digits"
    assert spec(with_recipe(tmp_path, "{name: table1}", profile=laptop)).dataset == "digits_32"
    tiny = spec(with_recipe(tmp_path, "{name: table1}", "tiny_imagenet", profile=laptop))
    assert (tiny.dataset, tiny.network.stem_stride) == ("digit_scenes", 2)


def test_the_auxiliary_head_is_refused_where_the_images_are_too_small(tmp_path):
    with pytest.raises(SpecError, match="auxiliary"):
        with_recipe(tmp_path, "{name: table1}", "digits").members()


def test_the_auxiliary_head_is_refused_where_it_would_train_on_one_image(tmp_path):
    with pytest.raises(SpecError, match="batch_size of 123 leaves one of 100000"):
        with_recipe(tmp_path, "{name: table1, batch_size: 123}", "tiny_imagenet").members()
    assert (
        spec(with_recipe(tmp_path, "{batch_size: 123}", "tiny_imagenet")).recipe.batch_size == 123
    )


def test_statistics_of_another_data_set_follow_its_substitute(tmp_path):
    laptop = str(EXPERIMENTS / "profiles/laptop.yaml")
    asked = "{statistics: cifar10}"
    assert spec(with_recipe(tmp_path, asked, "cifar100")).recipe.statistics == "cifar10"
    assert (
        spec(with_recipe(tmp_path, asked, "cifar100", profile=laptop)).recipe.statistics == "digits"
    )


def test_a_trial_names_the_version_of_another_data_sets_statistics(tmp_path, monkeypatch):
    asked = "{statistics: cifar10}"
    before = spec(with_recipe(tmp_path, asked, "cifar100"))
    changed = replace(DATASETS["cifar10"], preprocessing=2)
    monkeypatch.setitem(DATASETS, "cifar10", changed)
    after = spec(with_recipe(tmp_path, asked, "cifar100"))
    assert (before.statistics_preprocessing, after.statistics_preprocessing) == (1, 2)
    assert before.trial_id != after.trial_id
    assert spec(with_recipe(tmp_path, "{}", "cifar100")).statistics_preprocessing == 0


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
    assert (
        spec(with_recipe(tmp_path, recipe)).trial_id == spec(with_recipe(tmp_path, same)).trial_id
    )


def test_statistics_of_other_channels_are_refused(tmp_path):
    with pytest.raises(SpecError, match="cifar10 has statistics of 3 channels"):
        with_recipe(tmp_path, "{statistics: cifar10}", "digits").members()


@pytest.mark.parametrize(
    ("recipe", "reported"),
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
def test_a_bad_choice_is_reported_with_its_place(tmp_path, recipe, reported):
    with pytest.raises(ConfigError) as refused:
        with_recipe(tmp_path, recipe)
    assert reported in str(refused.value)


def test_a_folder_stands_for_its_files_by_number_without_those_below(tmp_path):
    (tmp_path / "profiles").mkdir()
    for name in ("fig10.yaml", "fig2.yaml", "a.yml", "notes.md", "profiles/laptop.yaml"):
        (tmp_path / name).touch()
    found = find_files([str(tmp_path)])
    assert [path.name for path in found] == ["a.yml", "fig2.yaml", "fig10.yaml"]


def test_a_file_named_twice_is_one(tmp_path):
    (tmp_path / "one.yaml").touch()
    assert len(find_files([str(tmp_path / "one.yaml"), str(tmp_path)])) == 1


def test_a_missing_file_is_left_for_its_reader_to_report(tmp_path):
    assert find_files([str(tmp_path / "none.yaml")]) == [tmp_path / "none.yaml"]


def test_an_empty_folder_is_reported(tmp_path):
    with pytest.raises(ConfigError, match="no experiment"):
        find_files([str(tmp_path)])
