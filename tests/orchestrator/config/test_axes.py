"""Axes of any key: their product, values that vary together, cells left out, generated values."""

import contextlib
import json
import math
from typing import Any

import pytest
from experiment_files import edited, refused
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.config.axes import generate
from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import member_rows
from results_schema.errors import SpecError


def members(folder, grid: str, *overrides: str, rest: str = "", **options: str) -> list[Any]:
    """The members of an experiment with these lines under `grid`."""
    lines = "".join(f"  {line}\n" for line in grid.splitlines())
    (folder / "y.yaml").write_text(f"title: t\nclaim: c\n{rest}grid:\n{lines}")
    return load_experiment("y.yaml", overrides=overrides, **options).members()


BASE = "genotype: [DARTS]\ndataset: [digits]\n"


def test_any_key_of_a_trial_is_an_axis(folder):
    grid = BASE + "seed: [0, 1]\nrecipe.weight_decay: [1e-4, 0]\nprecision: [fp32, bf16]\n"
    found = members(folder, grid + "network: [{cells: 5}, {cells: 8, channels: 4}]")
    spec = found[0].spec
    assert [
        (m.spec.seed, m.spec.recipe.weight_decay, m.spec.precision, m.spec.network.channels)
        for m in found
    ] == [
        (s, w, p, c) for s in (0, 1) for w in (1e-4, 0.0) for p in ("fp32", "bf16") for c in (36, 4)
    ]
    row = member_rows(load_experiment("y.yaml"))[0]
    assert json.loads(row["axes"]) == found[0].axes
    # Each is the trial of the same values written directly.
    direct = members(folder, BASE, "recipe={weight_decay: 1e-4}", "network={cells: 5}")
    assert direct[0].spec == spec
    assert found[0].axes == {
        "recipe.weight_decay": 1e-4, "precision": "fp32", "network": {"cells": 5},
    }  # fmt: skip


def test_an_axis_wins_over_the_file_and_a_profile_but_not_in_silence_over_an_option(folder):
    axis, rest = BASE + "recipe.epochs: [3, 4]\n", "recipe: {epochs: 9, batch_size: 7}\n"
    for options in ({}, {"profile": "small"}):
        found = members(folder, axis, rest=rest, **options)
        assert [(m.spec.recipe.epochs, m.spec.recipe.batch_size) for m in found] == [(3, 7), (4, 7)]
    said = refused("y.yaml", overrides=["recipe.epochs=2"])
    assert said.startswith("--set recipe.epochs=2: recipe.epochs is an axis of the grid")
    assert "--set 'grid.recipe.epochs=[VALUE]'" in said
    found = members(folder, axis, "grid.recipe.epochs=[2]", "grid.network.cells=[5, 6]")
    assert [(m.spec.recipe.epochs, m.spec.network.cells) for m in found] == [(2, 5), (2, 6)]


def test_zipped_axes_vary_together(folder):
    grid = """\
genotype: [DARTS]
seed: [0, 1]
zip:
  - {dataset: [digits, digit_pairs, digits], recipe.epochs: [2, 4, 2], learning_rate: [1, 1, 2]}
  - network.channels: {linspace: [4, 8, 2], whole: true}
    recipe.batch_size: [10, 20]
"""
    found = members(folder, grid)
    rows = [("digits", 2, 1.0), ("digit_pairs", 4, 1.0), ("digits", 2, 2.0)]
    assert [
        (m.named_dataset, m.spec.recipe.epochs, m.spec.learning_rate, m.spec.seed,
         m.spec.network.channels, m.spec.recipe.batch_size)
        for m in found
    ] == [
        (*row, seed, *pair) for row in rows for seed in (0, 1) for pair in ((4, 10), (8, 20))
    ]  # fmt: skip
    genotypes = "dataset: [digits]\nzip: {genotype: [DARTS, ENAS], recipe.epochs: [1, 2]}"
    found = members(folder, genotypes + "\nvariants: paper4")
    assert {(m.base, m.spec.recipe.epochs) for m in found} == {("DARTS", 1), ("ENAS", 2)}
    assert len(found) == 10


def test_cells_that_match_an_entry_are_left_out(folder):
    grid = """\
genotype: [DARTS, ENAS]
variants: paper4
dataset: [digits]
seed: {range: [0, 3]}
network.channels: [4, 8]
exclude:
  - {genotype: ENAS, index: [1, 2, 3, 4]}
  - {network.channels: 8, seed: [1, 2]}
"""
    found = {(m.base, m.index, m.spec.seed, m.spec.network.channels) for m in members(folder, grid)}
    assert found == {
        (base, index, seed, channels)
        for base in ("DARTS", "ENAS")
        for index in range(5)
        for seed in range(3)
        for channels in (4, 8)
        if not (base == "ENAS" and index) and not (channels == 8 and seed)
    }


def test_an_axis_below_another_changes_each_of_its_values(folder):
    axes = "recipe: [{name: table1}, {name: section4}]\nrecipe.epochs: [2, 3]"
    found = members(folder, BASE.replace("digits", "cifar10") + axes)
    assert [(m.spec.recipe.cutout, m.spec.recipe.epochs) for m in found] == [
        (16, 2), (16, 3), (0, 2), (0, 3),
    ]  # fmt: skip


BAD = [
    ("recipe.weigth_decay: [1]", "unknown key recipe.weigth_decay\n  did you mean weight_decay"),
    ("recipe.weight_decay: [0, -1]", "recipe.weight_decay is -1"),
    ("recipe.weight_decay:\n    - 0.1\n    - -1", "recipe.weight_decay is -1"),
    ("network.channels: [7]", "channels is 7\n  use an even number"),
    ("network: [{cells: 5}, {cels: 5}]", "unknown key network.cels"),
    ("precision: fp32", "grid.precision is 'fp32', not a list of values\n  write it in brackets"),
    ("precision: [fp33]", "unknown precision 'fp33'\n  did you mean"),
    ("precision: []", "name at least one value"),
    ("recipe.epochs: [2, 3, 2]", "grid.recipe.epochs[2] is 2, which is given more than once"),
    ("landscape.contour.grid: [3]", "unknown key grid.landscape.contour.grid"),
    ("recipe.epochs.x: [3]", "recipe.epochs"),
    (
        "zip: {recipe.epochs: [1, 2], recipe.batch_size: [3]}",
        "has 2, recipe.batch_size has 1",
    ),
    ("zip: {recipe.epochs: [1, 1], recipe.batch_size: [3, 3]}", "zip has a combination twice"),
    ("zip: {seed: [1, 2], recipe.batch_size: [3, 4]}", "grid.zip.seed is an axis already"),
    ("zip: [{recipe.epochs: [1, 2]}]", "grid.zip[0] is"),
    ("zip: {recipe.epochs: [1, 2], title: [a, b]}", "grid.zip.title is no axis"),
    ("zip: {recipe.epochs: [1, 2], recipe.batch_size: [0, 1]}", "recipe.batch_size is 0"),
    ("zip: 3", "grid.zip is 3"),
    ("exclude: {seed: 1}", "grid.exclude is {'seed': 1}, not a list"),
    ("exclude: [{}]", "grid.exclude[0] is {}"),
    ("exclude: [{sead: 1}]", "no axis grid.exclude[0].sead\n  did you mean seed"),
    ("exclude:\n    - {seed: 1}\n    - {seed: 7}", "grid.exclude[1].seed: the grid has no 7"),
    ("exclude: [{genotype: DART}]", "the grid has no 'DART'\n  did you mean DARTS"),
    ("exclude: [{index: 9}]", "the grid has no 9\n  use one of 0, 1, 2, 3, 4"),
    (
        "exclude: [{index: [0, 1, 2, 3, 4]}]",
        "grid.exclude leaves out every trial\n  keep at least one",
    ),
    ("recipe.epochs: {range: [1, 3], n: 2}", "range has no n"),
    ("recipe.epochs: {range: [3, 1]}", "it has 0 values"),
    ("recipe.epochs: {range: [0, 1000000000000]}", "it has 1,000,000,000,000 values"),
    ("recipe.epochs: {range: [1, 5, 0]}", "write range: [FIRST, END]"),
    (
        "recipe.weight_decay: {logspace: [0, 1, 5]}",
        "LAST, HOW MANY], above 0",
    ),
    ("recipe.weight_decay: {loguniform: [1e-4, 1e-1]}", "beside n"),
    ("recipe.weight_decay: {loguniform: [1e-4, .inf], n: 3}", "write loguniform"),
    ("recipe.weight_decay: {uniform: [1, 2], linspace: [1, 2, 3]}", "uniform"),
    ("recipe.epochs: {linspace: [1, 2, 3]}", "recipe.epochs is 1.5"),
    ("recipe.epochs: {}", "not a list of values"),
]


@pytest.mark.parametrize(("written", "said"), BAD, ids=str)
def test_a_bad_axis_is_reported_at_its_line(folder, written, said):
    (folder / "x.yaml").write_text(edited("  seed: [0, 1]\n", f"  seed: [0, 1]\n  {written}\n"))
    reported = refused()
    line = 9 + written.count("\n")
    assert any(part.startswith(f"x.yaml:{line}: ") for part in reported.splitlines()), reported
    assert said in reported
    assert len(reported.splitlines()) <= 4


def test_a_combination_that_makes_no_trial_is_reported_with_its_values(folder):
    grid = "  genotype: [DARTS]\n  dataset: [digits]\n  recipe.name: [section4, table1]\n"
    (folder / "y.yaml").write_text(f"title: t\nclaim: c\ngrid:\n{grid}")
    said = refused("y.yaml")
    assert said.startswith("y.yaml:5: dataset digits, recipe.name 'table1': images of 16×16")
    assert "use 32×32 images" in said


def test_every_bad_value_of_an_axis_is_reported_once(folder):
    grid = "  seed: [0, 1]\n  recipe.epochs: [1, 0, x]\n  network.cells: [3, 2]\n"
    (folder / "x.yaml").write_text(edited("  seed: [0, 1]\n", grid))
    assert refused().count("x.yaml:9: ") == 2
    (folder / "x.yaml").write_text(edited("  seed: [0, 1]\n", grid.replace("0, x", "2")))
    assert refused().count("x.yaml:10: ") == 1


@pytest.mark.parametrize(
    ("written", "values"),
    [
        ({"range": [0, 3]}, [0, 1, 2]),
        ({"range": [16, 65, 16]}, [16, 32, 48, 64]),
        ({"linspace": [0, 1, 5]}, [0.0, 0.25, 0.5, 0.75, 1.0]),
        ({"logspace": [1e-3, 1e-1, 5]}, [0.001, 0.00316228, 0.01, 0.0316228, 0.1]),
        ({"logspace": [16, 256, 5], "whole": True}, [16, 32, 64, 128, 256]),
        ({"linspace": [2, 5, 1]}, [2.0]),
    ],
)
def test_steps_are_what_they_seem(written, values):
    found = generate("recipe.epochs", written)
    assert found == values
    assert list(map(type, found)) == list(map(type, values))


def test_a_sample_depends_on_its_seed_and_axis_alone():
    first = generate("a", {"loguniform": [1e-4, 1e-1], "n": 4, "seed": 3})
    # Golden: ids of trials rest on these numbers.
    assert first == [0.00137674, 0.00817024, 0.000595713, 0.000289504]
    assert generate("b", {"loguniform": [1e-4, 1e-1], "n": 4, "seed": 3}) != first
    assert generate("a", {"loguniform": [1e-4, 1e-1], "n": 6, "seed": 3})[:4] == first


ends = st.floats(1e-9, 1e9)


@given(st.sampled_from(["uniform", "loguniform"]), ends, ends, st.integers(1, 50), st.integers())
def test_a_sample_is_between_its_ends(form, low, high, n, seed):
    if low == high:
        return
    found = generate("x", {form: [low, high], "n": n, "seed": seed})
    assert len(found) == n
    low, high = sorted((low, high))
    assert all(low * (1 - 1e-5) <= value <= high * (1 + 1e-5) for value in found)
    assert all(float(f"{value:.6g}") == value and math.isfinite(value) for value in found)


@given(
    st.dictionaries(
        st.sampled_from(["range", "linspace", "logspace", "uniform", "n", "seed", "whole", "x"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
                     lambda values: st.lists(values, max_size=4)),
    ).filter({"range", "linspace", "logspace", "uniform"}.intersection)
)  # fmt: skip
def test_junk_is_generated_from_or_refused(written):
    with contextlib.suppress(SpecError):
        assert generate("x", written)
