import json
from pathlib import Path

import pytest
from experiment_files import GOOD, PROFILE, edited, refused
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.experiment import load_experiment
from results_schema.trial import NetworkSpec, Recipe
from workers.data.catalog import DATASETS


def test_a_profile_changes_sizes_and_data_sets_but_not_their_names(folder):
    experiment = load_experiment("x.yaml", profile="small")
    assert experiment.profile == "small"
    assert experiment.network == NetworkSpec(cells=5, channels=16)
    assert experiment.recipe.of("cifar10") == Recipe(epochs=2, weight_decay=0.0)
    told = {(m.named_dataset, m.spec.dataset, m.spec.preprocessing) for m in experiment.members()}
    assert told == {
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


def test_an_unknown_profile_is_told_with_those_that_exist(folder):
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
    told = refused(profile="small")
    assert f"profiles/{message}" in told
    assert "x.yaml" not in told


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
    told = refused(overrides=[override])
    assert message in told
    assert "x.yaml" not in told
    told.encode()


def test_overrides_come_last_and_the_last_one_wins(folder):
    overrides = ["recipe.epochs=3", "grid.genotype=[ENAS]", "recipe.epochs=4", "title=Other: it"]
    assert "title is {'Other': 'it'}, not text" in refused(overrides=overrides)
    overrides[-1] = "title='Other: it'"
    experiment = load_experiment("x.yaml", profile="small", overrides=overrides)
    assert (experiment.recipe.of("cifar10").epochs, experiment.network.cells) == (4, 5)
    assert experiment.title == "Other: it"
    assert {member.base for member in experiment.members()} == {"ENAS"}


@pytest.fixture(scope="module")
def good(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("junk") / "good.yaml"
    path.write_text(GOOD)
    return path


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
