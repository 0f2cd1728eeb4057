"""The experiments that the project ships: that they load, and that their trials keep their ids."""

from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from orchestrator.config.documents import read_document
from orchestrator.config.experiment import Experiment, find_files, load_experiment
from orchestrator.config.schema import experiment_schema
from orchestrator.planning.plan import Plan, make_plan

FOLDER = Path(__file__).parents[3] / "experiments"
FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.parent.name != "profiles")
PROFILES = sorted(FOLDER.glob("profiles/*.yaml"))

PAPER13 = {
    "DARTS": "CONN3 CONN4 14 5 8 CONN1 CONN2 6 7 9 12 10 16",
    "ENAS": "23 125 2 188 1 8 3 6 5 4 7 9 10",
    "AmoebaNet": "23 8 125 4 2 188 3 1 9 10 7 5 6",
    "NASNet": "23 125 2 188 1 8 3 6 5 4 7 9 10",
}
"""Source of C1 to C13 of each base: a published cell or the seed of the sampler (Table 2)."""

# An id that changes disowns every trial that was trained under it.
FIG9_IDS = {
    (None, "DARTS", 0): ("cifar10-w3.5d3-lr0.025-s0", "c8461bf23c", "43a3568f4d"),
    (None, "DARTS", 1): ("cifar10-w2d4-lr0.025-s0", "a5153d3cf9", "0b45dd4aa4"),
    (None, "DARTS", 13): ("cifar10-w3.5d3-lr0.025-s0", "4ab5e6b678", "a26c169e1f"),
    (None, "ENAS", 0): ("cifar10-w5d2-lr0.025-s0", "fbd9bd2fa9", "354b38386c"),
    (None, "AmoebaNet", 0): ("cifar10-w4d4-lr0.025-s0", "60c9650770", "8bd3cf1006"),
    (None, "NASNet", 13): ("cifar10-w3.5d3-lr0.025-s0", "8146677c90", "c5f80adff6"),
    ("laptop", "DARTS", 0): ("digits-w3.5d3-lr0.025-s0", "1838c4bd73", "59f5c0fba2"),
    ("laptop", "DARTS", 1): ("digits-w2d4-lr0.025-s0", "01a6dc5040", "dce1505a40"),
    ("laptop", "ENAS", 0): ("digits-w5d2-lr0.025-s0", "e26be6bc5f", "8e7c03a855"),
    ("laptop", "AmoebaNet", 0): ("digits-w4d4-lr0.025-s0", "41f2a786de", "4cb0213d8b"),
    ("laptop", "NASNet", 13): ("digits-w3.5d3-lr0.025-s0", "b671b92f25", "738dfe8640"),
}
"""Beginning of an id, its hash, and its hash in recipe version 1, by which older stores go."""


def load(name: str, profile: str | None = None) -> Experiment:
    return load_experiment(FOLDER / f"{name}.yaml", profile=profile)


def ids(experiment: Experiment) -> list[str]:
    return [member.spec.trial_id for member in experiment.members()]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_experiment_fits_the_schema_and_loads_with_every_profile(path):
    written = read_document(path).data
    assert not list(Draft202012Validator(experiment_schema()).iter_errors(written))
    for profile in (None, *PROFILES):
        experiment = load_experiment(path, profile=profile and str(profile))
        trials = ids(experiment)
        assert len(set(trials)) == len(trials)
        assert bool(trials) == bool(experiment.grid.dataset)
        assert experiment.figures or experiment.tables
        assert path.read_text("utf-8").startswith("# "), "what it is for"
        if experiment.profile == "laptop":
            for member in experiment.members():
                assert member.spec.dataset.startswith("digit")
                assert member.spec.recipe.epochs * member.spec.network.cells <= 60


def test_figure_9_has_the_papers_variants_in_the_papers_order():
    experiment = load("fig9")
    members = experiment.members()
    assert [(m.base, m.index) for m in members] == [(b, i) for b in PAPER13 for i in range(14)]
    for base, sources in PAPER13.items():
        expected = [s if s.startswith("CONN") else f"seed {s}" for s in sources.split()]
        assert [m.variant for m in members if m.base == base] == [base, *expected]
    assert {m.spec.dataset for m in members} == {"cifar10"}
    assert {m.spec.learning_rate for m in members} == {0.025}
    assert (experiment.network.cells, experiment.network.channels) == (20, 36)
    recipe = experiment.recipe.of("cifar10")
    assert (recipe.epochs, recipe.batch_size) == (600, 80)
    fig14 = load("fig14")
    left_out = [m for m in fig14.members() if m.index not in fig14.figures["fig14"].options.indices]
    assert [m.variant for m in left_out] == ["seed 6"], "the cell that Table 2 prints last"


def test_the_grid_is_the_full_product_and_holds_figure_9():
    members = load("more/grid").members()
    assert len(members) == 4 * 14 * 3 * 2
    assert len({m.spec.trial_id for m in members}) == len(members)
    assert {(m.named_dataset, m.spec.learning_rate) for m in members} == {
        (dataset, rate) for dataset in ("cifar10", "cifar100") for rate in (0.0025, 0.025, 0.25)
    }
    assert set(ids(load("fig9"))) < {m.spec.trial_id for m in members}
    assert not set(ids(load("more/grid", "laptop"))) & {m.spec.trial_id for m in members}


def test_trials_keep_their_ids():
    found = {}
    for profile in (None, "laptop"):
        for member in load("fig9", profile).members():
            spec = member.spec
            first = replace(spec, recipe=replace(spec.recipe, version=1))
            found[profile, member.base, member.index] = spec.trial_id, first.trial_id
    expected = {
        place: (f"{start}-r2-{now}", f"{start}-{earlier}")
        for place, (start, now, earlier) in FIG9_IDS.items()
    }
    assert {place: found[place] for place in expected} == expected


TRIALS_AND_SURFACES = {
    **{f"fig{number}": (0, 0) for number in (1, 2, 10, 11, 25, 26)},
    "fig3": (10, 0),
    "fig4": (12, 0),
    "fig5": (8, 0),
    **{f"fig{number}": (5, 5) for number in (6, 7, 8)},
    "fig9": (56, 0),
    "fig12": (44, 0),
    **{f"fig{number}": (14, 0) for number in (13, 14, 15, 16)},
    **{f"fig{number}": (14, 14) for number in range(17, 25)},
    "table1": (30, 0),
    "table2": (0, 0),
    "table3": (0, 0),
    "theory": (5, 20),
}
"""Of each experiment of the final version."""

EARLY = {
    **{f"early-fig{number}": (0, 0) for number in (1, 10, 11)},
    **{f"early-fig{number}": (5, 5) for number in (5, 6, 7, 14, 15, 16, 17)},
    "early-fig9": (44, 0),
    "early-fig12": (5, 0),
    "early-fig13": (5, 0),
    "early-table1": (20, 0),
}
"""Of each of the earlier version's own."""


def union(*names: str) -> Plan:
    return make_plan([load(name, "laptop") for name in names], None)


@pytest.mark.parametrize(("folder", "sizes"), [("", TRIALS_AND_SURFACES), ("early/", EARLY)])
def test_every_figure_has_its_experiment_with_so_many_trials_and_surfaces(folder, sizes):
    found = {path.stem for path in find_files([str(FOLDER / folder)])}
    assert found == set(sizes)
    for name, size in sizes.items():
        experiment = load(folder + name)
        assert (len(set(ids(experiment))), len(experiment.surfaces())) == size, name


def test_the_whole_paper_is_one_union_of_which_each_trial_is_trained_once(run, tmp_path):
    final = union(*TRIALS_AND_SURFACES)
    assert (len(final.trials), len(final.wanted)) == (143, 139)
    assert sum(trials for trials, _ in TRIALS_AND_SURFACES.values()) == 348
    output = run("plan", FOLDER, "--store", tmp_path / "none")[1]
    assert "143 to do" in output and "shared between experiments: 205" in output
    both = union(*TRIALS_AND_SURFACES, *(f"early/{name}" for name in EARLY))
    assert (len(both.trials), len(both.wanted)) == (148, 149)
    # Figures that rest on the same trials and surfaces share them.
    assert len(union("fig9", "fig13", "fig14", "fig15", "fig16").trials) == 56
    assert len(union("fig6", "fig17").wanted) == 16, "two of the 14 reach less far"
