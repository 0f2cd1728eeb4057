import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.experiment import Experiment, load_experiment
from results_schema.errors import ConfigError
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.data.catalog import DATASETS

GOOD = """\
title: A title
claim: A claim.
grid:
  genotype: [DARTS, SNAS]
  variants: paper4
  dataset: [cifar10, cifar100]
  learning_rate: [0.025, 0.25]
  seed: [0, 1]
network: {cells: 8, channels: 16}
recipe: {epochs: 30, weight_decay: 0}
precision: fp32
figures: {accuracy: accuracy_by_index}
"""

PROFILE = """\
description: Small.
datasets:
  cifar10: digits
set:
  network.cells: 5
  recipe.epochs: 2
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "x.yaml").write_text(GOOD)
    (tmp_path / "profiles/small.yaml").write_text(PROFILE)
    return tmp_path


def edited(old: str, new: str, text: str = GOOD) -> str:
    assert text.count(old) == 1
    return text.replace(old, new)


def refused(path: str = "x.yaml", **options) -> str:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, **options)
    return str(caught.value)


def test_a_file_says_what_an_experiment_is(folder):
    experiment = load_experiment("x.yaml")
    assert (experiment.name, experiment.title, experiment.claim) == ("x", "A title", "A claim.")
    assert experiment.profile is None
    assert experiment.network == NetworkSpec(cells=8, channels=16)
    assert experiment.recipe == Recipe(epochs=30, weight_decay=0.0)
    assert experiment.figures == {"accuracy": "accuracy_by_index"}


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


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: A title\n", "", "x.yaml:1: title is missing\n  add title: what is measured"),
        ("claim: A claim.", "claim: 5", "x.yaml:2: claim is 5, not text"),
        ("claim: A claim.", "claim: ''", "x.yaml:2: claim: '' is no readable text"),
        ("claim: A claim.", 'claim: "a \\e[2J b"', r"claim: 'a \x1b[2J b' is no readable text"),
        ("claim:", "clam:", "x.yaml:2: unknown key clam\n  did you mean claim? use one of title,"),
        ("  dataset:", "  data:", "x.yaml:6: unknown key grid.data\n  did you mean dataset?"),
        ("  dataset:", "  data:", "x.yaml:3: grid.dataset is missing\n  add dataset: data sets"),
        ("[DARTS, SNAS]", "[DARTS, SNAZ]", "x.yaml:4: grid.genotype[1]: unknown genotype 'SNAZ'"),
        ("[DARTS, SNAS]", "[darts]", "did you mean DARTS"),
        ("[DARTS, SNAS]", "[1]", "x.yaml:4: grid.genotype[0] is 1, not text"),
        ("[DARTS, SNAS]", "DARTS", "x.yaml:4: grid.genotype is 'DARTS', not a list"),
        ("[DARTS, SNAS]", "DARTS", "write it in brackets: [DARTS]"),
        ("[DARTS, SNAS]", "{a: DARTS}", "x.yaml:4: grid.genotype is {'a': 'DARTS'}, not a list"),
        ("[DARTS, SNAS]", "[]", "x.yaml:4: grid.genotype: the list is empty\n  name at least one"),
        ("[DARTS, SNAS]", "", "x.yaml:4: grid.genotype is null, not a list"),
        ("[DARTS, SNAS]", "\n  - DARTS\n  - ENSA", "x.yaml:6: grid.genotype[1]: unknown genotype"),
        ("paper4", "paper5", "x.yaml:5: grid.variants: unknown set of variants 'paper5'"),
        ("paper4", "[paper4]", "unknown set of variants ['paper4']\n  did you mean paper4"),
        ("paper4", "paper13", "x.yaml:4: grid.variants: SNAS has no connection variants 'paper13'"),
        ("paper4", "paper13", "use one of none, paper4"),
        ("cifar100]", "cifar1000]", "x.yaml:6: grid.dataset[1]: unknown data set 'cifar1000'"),
        ("cifar100]", "cifar1000]", "did you mean cifar100?"),
        ("cifar100]", "cifar10]", "x.yaml:6: grid.dataset: 'cifar10' given more than once"),
        ("0.25]", "2.5e-2]", "x.yaml:7: grid.learning_rate: 0.025 given more than once"),
        ("0.25]", "fast]", "x.yaml:7: grid.learning_rate[1] is 'fast', not a number"),
        ("0.25]", "'0.25']", "x.yaml:7: grid.learning_rate[1] is '0.25', not a number"),
        ("0.25]", "true]", "x.yaml:7: grid.learning_rate[1] is true, not a number"),
        ("0.25]", "0]", "x.yaml:7: grid.learning_rate[1] is 0\n  it should be greater than 0"),
        ("0.25]", "-1]", "x.yaml:7: grid.learning_rate[1] is -1\n  it should be greater than 0"),
        ("0.25]", ".inf]", "x.yaml:7: grid.learning_rate[1] is inf\n  it should be a finite"),
        ("0.25]", ".nan]", "x.yaml:7: grid.learning_rate[1] is nan\n  it should be"),
        ("[0, 1]", "[0, 1.0]", "x.yaml:8: grid.seed[1] is 1.0, not a whole number"),
        ("[0, 1]", "[0, -1]", "x.yaml:8: grid.seed[1] is -1\n  it should be greater than or"),
        ("[0, 1]", "[0, null]", "x.yaml:8: grid.seed[1] is null, not a whole number"),
        ("cells: 8", "cells: 2", "x.yaml:9: network.cells is 2\n  use a whole number from 3"),
        ("cells: 8", "cells: '8'", "x.yaml:9: network.cells is '8'\n  use a whole number from 3"),
        ("cells: 8", "cell: 8", "x.yaml:9: unknown key network.cell\n  did you mean cells?"),
        ("channels: 16", "channels: 7", "x.yaml:9: network.channels is 7\n  use an even number"),
        ("{cells: 8, channels: 16}", "20", "x.yaml:9: network is 20, not keys and values"),
        ("{cells: 8, channels: 16}", "", "x.yaml:9: network is null, not keys and values"),
        ("epochs: 30", "epochs: two", "x.yaml:10: recipe.epochs is 'two'\n  use a whole number"),
        ("epochs: 30", "epochs: 0", "x.yaml:10: recipe.epochs is 0\n  use a whole number from 1"),
        ("epochs: 30", "epochs: 30.0", "x.yaml:10: recipe.epochs is 30.0"),
        ("epochs: 30", "version: 1", "x.yaml:10: unknown key recipe.version\n  use one of epochs"),
        ("weight_decay: 0", "momentum: 1", "x.yaml:10: recipe.momentum is 1\n  use a finite num"),
        ("precision: fp32", "precision: 16", "x.yaml:11: precision: unknown precision 16\n  use f"),
        ("y_by_index}", "y}", "x.yaml:12: figures.accuracy: unknown kind of figure 'accuracy'"),
        ("{accuracy:", "{../up:", "x.yaml:12: figures.../up: '../up' cannot name a file"),
        ("{accuracy: accuracy_by_index}", "[]", "x.yaml:12: figures is [], not keys and values"),
        ("{accuracy:", "{name: x, profile: y, a:", "figures.name: unknown kind of figure 'x'"),
        ("title: A", "name: y\ntitle: A", "x.yaml:1: unknown key name"),
        ("title: A", "stand_ins: {}\ntitle: A", "x.yaml:1: unknown key stand_ins"),
        ("title: A", "title: B\ntitle: A", "x.yaml:2: title is given twice, first in line 1"),
        ("grid:", "grid: []\nnotgrid:", "x.yaml:3: grid is [], not keys and values"),
    ],
)
def test_a_bad_value_is_told_with_its_line_and_how_to_mend_it(folder, old, new, message):
    (folder / "x.yaml").write_text(edited(old, new))
    assert message in refused()


def test_all_problems_of_a_file_are_told_at_once_in_their_order(folder):
    text = edited("[DARTS, SNAS]", "[DART]")
    text = edited("[0, 1]", "[]", text)
    text = edited("{cells: 8, channels: 16}", "{cells: 1, channels: 3, depth: 4}", text)
    text = edited("{epochs: 30, weight_decay: 0}", "{epochs: 0, grad_clip: -1, version: 3}", text)
    (folder / "x.yaml").write_text(edited("claim: A claim.\n", "", text))
    blamed = [line.split(": ")[:2] for line in refused().splitlines() if not line.startswith(" ")]
    assert blamed == [
        ["x.yaml:1", "claim is missing"],
        ["x.yaml:3", "grid.genotype[0]"],
        ["x.yaml:7", "grid.seed"],
        ["x.yaml:8", "network.cells is 1"],
        ["x.yaml:8", "network.channels is 3"],
        ["x.yaml:8", "unknown key network.depth"],
        ["x.yaml:9", "recipe.epochs is 0"],
        ["x.yaml:9", "recipe.grad_clip is -1"],
        ["x.yaml:9", "unknown key recipe.version"],
    ]


def test_a_long_value_is_cut_in_the_message(folder):
    (folder / "x.yaml").write_text(edited("epochs: 30", f"epochs: {'x' * 10_000}"))
    assert len(refused()) < 300


def test_a_grid_too_large_to_list_is_refused(folder):
    seeds = f"[{', '.join(map(str, range(3_000)))}]"
    (folder / "x.yaml").write_text(edited("[0, 1]", seeds))
    assert refused() == "x.yaml:3: the grid has 120,000 trials\n  stay within 100,000"


def test_a_name_that_the_store_cannot_use_is_refused(folder):
    (folder / "my exp.yaml").write_text(GOOD)
    assert refused("my exp.yaml").startswith("my exp.yaml: 'my exp' cannot name a file")
    (folder / "-x.yaml").write_text(GOOD)
    assert "cannot name a file" in refused("-x.yaml")


def test_a_file_that_is_not_there_is_told_with_the_one_that_is(folder):
    assert refused("y.yaml") == "y.yaml: there is no such file\n  did you mean x.yaml?"


def test_a_profile_changes_sizes_and_data_sets_but_not_their_names(folder):
    experiment = load_experiment("x.yaml", profile="small")
    assert experiment.profile == "small"
    assert experiment.network == NetworkSpec(cells=5, channels=16)
    assert experiment.recipe == Recipe(epochs=2, weight_decay=0.0)
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
    assert load_experiment(f"{home}x.yaml", profile="tiny").recipe.epochs == 2


def test_the_nearest_profile_of_a_name_wins(folder):
    (folder / "near/profiles").mkdir(parents=True)
    (folder / "near/x.yaml").write_text(GOOD)
    (folder / "near/profiles/small.yaml").write_text(edited("epochs: 2", "epochs: 3", PROFILE))
    assert load_experiment("near/x.yaml", profile="small").recipe.epochs == 3
    by_path = load_experiment("near/x.yaml", profile="profiles/small.yaml")
    assert (by_path.recipe.epochs, by_path.profile) == (2, "small")


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
        ("recipe.epochs=two", "--set recipe.epochs=two: recipe.epochs is 'two'\n  use a whole num"),
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
    assert (experiment.recipe.epochs, experiment.network.cells) == (4, 5)
    assert experiment.title == "Other: it"
    assert {member.base for member in experiment.members()} == {"ENAS"}


def test_a_base_without_the_variants_is_blamed_on_whoever_named_it(folder):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "\n  - DARTS\n  - ENAS"))
    told = refused(overrides=["grid.genotype=[DARTS, SNAS_ADAPT]", "grid.variants=paper10"])
    assert told.startswith("--set grid.variants=paper10: grid.variants: SNAS_ADAPT has no conn")
    (folder / "x.yaml").write_text(edited("paper4", "paper10"))
    assert refused().startswith("x.yaml:4: grid.variants: SNAS has no")


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


@given(
    epochs=st.integers(1, 2**31 - 1),
    rates=st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=4, unique=True),
)
def test_what_is_set_arrives_bit_for_bit(good, epochs, rates, seeds):
    overrides = [f"recipe.epochs={epochs}", f"grid.learning_rate={json.dumps(rates)}"]
    experiment = load_experiment(good, overrides=[*overrides, f"grid.seed={json.dumps(seeds)}"])
    assert experiment.recipe.epochs == epochs
    assert experiment.grid.learning_rate == tuple(rates)
    assert experiment.grid.seed == tuple(seeds)
    assert len({m.spec.trial_id for m in experiment.members()}) == len(experiment.members())


ENDINGS = ["[]", "{}", "null", "x", "'", '"', "*a", "&a", "!!set", ".nan", "-1", "[[0]]", "[1, a]"]
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
from orchestrator.experiment import load_experiment
load_experiment("x.yaml", profile="small").members()
slow = {"torch", "ray", "plotly", "pandas", "pyarrow", "sklearn"} & set(sys.modules)
sys.exit(f"imported {sorted(slow)}" if slow else 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
