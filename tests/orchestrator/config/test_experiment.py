import subprocess
import sys
from pathlib import Path

import pytest
from experiment_files import GOOD, refused
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.experiment import Experiment, load_experiment
from orchestrator.config.registry import Choice
from results_schema.errors import ConfigError
from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named


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


def test_a_file_that_is_not_there_is_told_with_the_one_that_is(folder):
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
