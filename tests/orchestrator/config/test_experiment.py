"""Experiments from files, profiles and overrides, their recipes, and what a launch records."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_files import GOOD, PROFILE, edited, refused
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.config.experiment import find_files, load_experiment
from orchestrator.config.registry import Choice
from results_schema.errors import ConfigError
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.data.catalog import DATASETS

LAPTOP = str(Path(__file__).parents[3] / "experiments/profiles/laptop.yaml")


def test_a_file_says_what_an_experiment_is_and_the_paper_the_rest(folder):
    experiment = load_experiment("x.yaml")
    assert (experiment.name, experiment.title, experiment.claim) == ("x", "A title", "A claim.")
    assert experiment.profile is None
    assert experiment.network == NetworkSpec(cells=8, channels=16)
    assert experiment.recipe.of("cifar10") == Recipe(epochs=30, weight_decay=0.0)
    assert experiment.figures == {"accuracy": Choice("accuracy_by_index")}
    with pytest.raises(ValueError, match="frozen"):
        experiment.title = "Other"
    grid = "{genotype: [DARTS_CONN1], dataset: [digits]}"
    (folder / "y.yml").write_text(f"title: t\nclaim: c\ngrid: {grid}\n")
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
    aliased = load_experiment("x.yaml", overrides=["grid.genotype=[DARTS_V2, SNAS_MILD]"])
    assert aliased.members() == members


def test_a_name_that_the_store_cannot_use_is_refused(folder):
    for name in ("my exp", "-x", "x" * 101):
        (folder / f"{name}.yaml").write_text(GOOD)
        assert "cannot name a file" in refused(f"{name}.yaml")


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("junk") / "good.yaml"
    path.write_text(GOOD)
    return path


ENDINGS = ["[]", "{}", "null", "x", "'", '"', "*a", "&a", "!!set", ".nan", "-1", "[[0]]", "[1, a]"]
ENDINGS += ["uniform", "{mode: profile, slots: [2]}", "{zoo: PDARTS}", "[{text: x, name: 1}]"]
ENDINGS += ["{a: {b: [c]}}", "{epochs: [1]}", "{cells: 1e9}", "{1: 2}", "é", "[DARTS]", "paper4"]
STARTS = ["title: ", "claim: ", "grid:\n", "  genotype: ", "  seed: ", "  learning_rate: ", "- "]
STARTS += ["network: ", "recipe: ", "figures: ", "  variants: ", "  dataset: [cifar10]\n", "\t"]
STARTS += ["  variants:\n", "    connections: ", "    operations: ", "    indices: "]
STARTS += ["  - zoo: ", "  - file: ", "  - text: ", "  - name: ", "    normal: ", "    mode: "]
pieces = st.sampled_from([*STARTS, *(f"{line}\n" for line in [*ENDINGS, *GOOD.splitlines()])])


@given(st.binary(max_size=60) | st.lists(pieces, max_size=14).map(lambda p: "".join(p).encode()))
def test_a_junk_file_is_refused_with_its_name_and_nothing_else_happens(good, content):
    path = good.parent / "junk.yaml"
    path.write_bytes(content)
    try:
        load_experiment(path).members()
    except ConfigError as error:
        assert str(error).startswith(str(path))


@settings(max_examples=50)
@given(st.text(max_size=30) | st.from_regex(r"(grid|recipe|network)\.[a-z]{1,6}=.{0,12}"))
def test_a_junk_override_is_refused_with_its_place_and_nothing_else_happens(good, text):
    try:
        load_experiment(good, overrides=[text])
    except ConfigError as error:
        assert str(error).startswith("--set")


def test_a_profile_changes_sizes_and_data_sets_but_not_their_names_and_overrides_win(folder):
    experiment = load_experiment("x.yaml", profile="small")
    assert experiment.profile == "small"
    assert experiment.network == NetworkSpec(cells=5, channels=16)
    assert experiment.recipe.of("cifar10") == Recipe(epochs=2, weight_decay=0.0)
    assert {
        (m.named_dataset, m.spec.dataset, m.spec.preprocessing) for m in experiment.members()
    } == {
        ("cifar10", "digits", DATASETS["digits"].preprocessing),
        ("cifar100", "cifar100", DATASETS["cifar100"].preprocessing),
    }
    overrides = ["recipe.epochs=3", "grid.genotype=[ENAS]", "recipe.epochs=4", "title=Other"]
    experiment = load_experiment("x.yaml", profile="small", overrides=overrides)
    assert (experiment.recipe.of("cifar10").epochs, experiment.network.cells) == (4, 5)
    assert experiment.title == "Other"
    assert {member.base for member in experiment.members()} == {"ENAS"}


@pytest.mark.parametrize("home", ["", "experiments/", "experiments/deep/down/"])
@pytest.mark.parametrize("profiles", ["profiles/", "experiments/profiles/"])
def test_a_profile_is_found_from_every_folder_below_and_the_nearest_wins(folder, home, profiles):
    (folder / "profiles/small.yaml").unlink()
    for place in (home, profiles, f"{home}near/profiles"):
        (folder / place).mkdir(parents=True, exist_ok=True)
    for place in (home, f"{home}near/"):
        (folder / place / "x.yaml").write_text(GOOD)
    (folder / profiles / "tiny.yaml").write_text(PROFILE)
    near = edited("epochs: 2", "epochs: 3", PROFILE)
    (folder / f"{home}near/profiles/tiny.yaml").write_text(near)
    assert load_experiment(f"{home}x.yaml", profile="tiny").recipe.of("cifar10").epochs == 2
    nearest = load_experiment(f"{home}near/x.yaml", profile="tiny")
    assert nearest.recipe.of("cifar10").epochs == 3
    by_path = load_experiment(f"{home}near/x.yaml", profile=f"{profiles}tiny.yaml")
    assert (by_path.recipe.of("cifar10").epochs, by_path.profile) == (2, "tiny")


def test_an_unknown_profile_is_reported_with_those_that_exist(folder):
    (folder / "profiles/other.yaml").write_text(PROFILE)
    reported = refused(profile="smal")
    assert reported.startswith("--profile: ") and "'smal'" in reported
    assert "did you mean small? use one of other, small" in reported
    assert refused(profile="profiles/none.yaml").startswith("profiles/none.yaml: there is no such")


@settings(max_examples=20)
@given(
    epochs=st.integers(1, 2**31 - 1),
    rates=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=3, unique=True),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=3, unique=True),
)
def test_what_is_set_arrives_bit_for_bit(good, epochs, rates, seeds):
    axes = ["grid.genotype=[DARTS]", f"grid.learning_rate={json.dumps(rates)}"]
    axes += [f"recipe.epochs={epochs}", f"grid.seed={json.dumps(seeds)}"]
    experiment = load_experiment(good, overrides=axes)
    assert experiment.recipe.of("cifar10").epochs == epochs
    assert experiment.grid.learning_rate == tuple(rates)
    assert experiment.grid.seed == tuple(seeds)
    assert len({m.spec.trial_id for m in experiment.members()}) == len(experiment.members())


def spec(tmp_path, recipe: str, dataset: str = "cifar10", **options):
    """The one trial of an experiment with a recipe."""
    grid = f"{{genotype: [DARTS], dataset: [{dataset}]}}"
    (tmp_path / "x.yaml").write_text(f"title: x\nclaim: x\ngrid: {grid}\nrecipe: {recipe}\n")
    (member,) = load_experiment(tmp_path / "x.yaml", **options).members()
    return member.spec


@pytest.mark.parametrize(
    ("written", "recipe"),
    [
        ("{}", Recipe()),
        ("{name: table1}", Recipe(cutout=16, auxiliary=0.4, drop_path=0.2)),
        ("{name: table1, cutout: 0, epochs: 3}", Recipe(epochs=3, auxiliary=0.4, drop_path=0.2)),
        (
            "{name: table1_scripts}",
            Recipe(cutout=16, auxiliary=0.4, drop_path=0.2, batch_size=60),
        ),
        # Fields without effect name no other trial; see tests/workers/test_identity.py.
        ("{statistics: cifar10, batch_size: 60000}", Recipe(batch_size=50000)),
    ],
)
def test_a_named_recipe_is_the_papers_and_single_fields_win(tmp_path, written, recipe):
    assert spec(tmp_path, written).recipe == recipe


def test_data_sets_have_epochs_and_stems_of_their_own_and_laptop_has_substitutes(tmp_path):
    tiny = spec(tmp_path, "{}", "tiny_imagenet")
    assert (tiny.recipe.epochs, tiny.network) == (300, NetworkSpec(stem_stride=2))
    assert spec(tmp_path, "{}", profile=LAPTOP).dataset == "digits"
    assert spec(tmp_path, "{name: table1}", profile=LAPTOP).dataset == "digits_32"
    tiny = spec(tmp_path, "{name: table1}", "tiny_imagenet", profile=LAPTOP)
    assert (tiny.dataset, tiny.network.stem_stride) == ("digit_scenes", 2)


@pytest.mark.parametrize(
    ("recipe", "dataset", "named"),
    [
        ("{name: table1}", "digits", "auxiliary"),
        ("{name: table1, batch_size: 123}", "tiny_imagenet", "123 leaves one of 100000"),
        ("{statistics: cifar10}", "digits", "cifar10 has statistics of 3 channels"),
        ("{validation: 0.0001}", "digits", "holds out 0 of 1440"),
    ],
)
def test_a_recipe_that_a_data_set_cannot_have_is_refused(tmp_path, recipe, dataset, named):
    with pytest.raises(ConfigError, match=rf"\.yaml:\d+: (?s:.*){named}"):
        spec(tmp_path, recipe, dataset)


def test_statistics_of_another_data_set_follow_its_substitute_and_its_version(
    tmp_path, monkeypatch
):
    asked = "{statistics: cifar10}"
    before = spec(tmp_path, asked, "cifar100")
    assert before.recipe.statistics == "cifar10"
    assert spec(tmp_path, asked, "cifar100", profile=LAPTOP).recipe.statistics == "digits"
    monkeypatch.setitem(DATASETS, "cifar10", replace(DATASETS["cifar10"], preprocessing=2))
    after = spec(tmp_path, asked, "cifar100")
    assert (before.statistics_preprocessing, after.statistics_preprocessing) == (1, 2)
    assert before.trial_id != after.trial_id
    assert spec(tmp_path, "{}", "cifar100").statistics_preprocessing == 0


def test_a_folder_stands_for_its_files_by_number_without_those_below(tmp_path):
    with pytest.raises(ConfigError, match="no experiment"):
        find_files([str(tmp_path)])
    (tmp_path / "profiles").mkdir()
    for name in ("fig10.yaml", "fig2.yaml", "a.yml", "notes.md", "profiles/laptop.yaml"):
        (tmp_path / name).touch()
    with pytest.raises(ConfigError, match=r"no such experiment\n  did you mean .*/a\.yml\?"):
        find_files([str(tmp_path / "a")])
    found = find_files([str(tmp_path), str(tmp_path / "a.yml"), str(tmp_path / "none.yaml")])
    assert [path.name for path in found] == ["a.yml", "fig2.yaml", "fig10.yaml", "none.yaml"]


PARENT = """\
title: Parent
claim: A claim.
grid: {genotype: [DARTS], variants: paper4, dataset: [digits], seed: [0, 1]}
recipe: {epochs: 3, batch_size: 0}
landscape: {contour: {grid: 3}}
figures: {other: accuracy_by_index}
figure:
  kind: convergence
  groups: 2
"""


def test_an_experiment_extends_another_key_by_key(folder):
    (folder / "shared").mkdir()
    (folder / "shared/parent.yaml").write_text(PARENT.replace("batch_size: 0", "batch_size: 9"))
    (folder / "shared/child.yaml").write_text("extends: parent.yaml\nrecipe: {epochs: 4}\n")
    (folder / "grandchild.yaml").write_text("""\
extends: shared/child.yaml
title: Grandchild
grid: {genotype: [ENAS], seed: [2], recipe.weight_decay: [0, 1]}
landscape: {contour: null}
figure: {groups: 3}
figures: {other: null}
""")
    found = load_experiment("grandchild.yaml", overrides=["figures.grandchild.title=Mine"])
    assert (found.title, found.claim) == ("Grandchild", "A claim.")
    assert {(m.base, m.spec.seed) for m in found.members()} == {("ENAS", 2)}
    assert len(found.members()) == 2 * 5
    assert (found.recipe.given, found.surfaces()) == ({"epochs": 4, "batch_size": 9}, [])
    assert {name: choice.to_json() for name, choice in found.figures.items()} == {
        "grandchild": {"kind": "convergence", "groups": 3, "title": "Mine"}
    }
    assert found.extended == (Path("shared/child.yaml"), Path("shared/parent.yaml"))
    parent = load_experiment("shared/parent.yaml")
    assert set(parent.figures) == {"other", "parent"}


@pytest.mark.parametrize(
    ("child", "said"),
    [
        ("", "parent.yaml:4: recipe.batch_size is 0"),
        ("recipe:\n  batch_size: -1\n", "child.yaml:3: recipe.batch_size is -1"),
        ("grid: {variants: paper99}\n", "child.yaml:2: grid.variants: unknown"),
        (
            "recipe: {batch_size: 9}\ngrid: {genotype: [SNAS], variants: paper13}\n",
            "child.yaml:3: grid.variants: SNAS",
        ),
        ("titel: x\n", "child.yaml:2: unknown key titel"),
        ("figure: nothing\n", "child.yaml:2: figures.child: unknown kind of figure 'nothing'"),
        ("figures: {child: contours}\n", "parent.yaml:7: figure and figures.child are one figure"),
    ],
)
def test_an_error_names_the_file_that_the_value_is_from(folder, child, said):
    (folder / "parent.yaml").write_text(PARENT)
    (folder / "child.yaml").write_text("extends: parent.yaml\n" + child)
    assert said in refused("child.yaml")


@pytest.mark.parametrize(
    ("extends", "said"),
    [
        ("[x.yaml]", "child.yaml:1: extends is ['x.yaml'], not text\n  name a file"),
        ("''", "child.yaml:1: extends is '', not text"),
        ("xx.yaml", "child.yaml:1: extends: xx.yaml: there is no such file\n  did you mean x.yaml"),
        ("child.yaml", "child.yaml:1: extends: child.yaml → child.yaml does not end"),
        ("a.yaml", "b.yaml:1: extends: child.yaml → a.yaml → b.yaml → a.yaml does not end"),
        ("broken.yaml", "broken.yaml:1: not YAML"),
    ],
)
def test_what_cannot_be_extended_is_refused(folder, extends, said):
    for name, other in (("child", extends), ("a", "b.yaml"), ("b", "./a.yaml")):
        (folder / f"{name}.yaml").write_text(f"extends: {other}\n")
    (folder / "broken.yaml").write_text("a: [")
    assert refused("child.yaml").startswith(said)
