import json

import pytest
from experiment_files import edited, refused

from orchestrator.config.experiment import Experiment, Member, load_experiment
from orchestrator.config.variants import MODES, OPERATIONS, Variants
from workers.cells.sampling import Profile, Stratified, Uniform
from workers.cells.variants import connection_variants, operation_variants


def load(variants: str, genotype: str = "[DARTS]") -> Experiment:
    """An experiment of one genotype at one learning rate and seed."""
    axes = ["grid.dataset=[digits]", "grid.learning_rate=[0.1]", "grid.seed=[0]"]
    return load_experiment(
        "x.yaml", overrides=[*axes, f"grid.genotype={genotype}", f"grid.variants={variants}"]
    )


def members(variants: str, genotype: str = "[DARTS]") -> list[Member]:
    return load(variants, genotype).members()


@pytest.mark.parametrize("mode", MODES)
def test_every_set_of_connection_variants_is_the_workers(folder, mode):
    found = members(mode)
    drawn = connection_variants("DARTS", mode)
    assert [(m.index, m.variant, m.spec.genotype) for m in found[1:]] == [
        (v.index, v.name, v.genotype) for v in drawn
    ]
    assert (found[0].index, found[0].variant) == (0, "DARTS")
    assert load(f"{{connections: {mode}}}") == load(mode)
    assert load(f"{{connections: {{mode: {mode}}}}}") == load(mode)


@pytest.mark.parametrize("mode", OPERATIONS)
def test_every_set_of_operation_variants_is_the_workers(folder, mode):
    found = members(f"{{operations: {mode}}}")[1:]
    drawn = operation_variants("DARTS", mode)
    assert [(m.index, m.spec.genotype) for m in found] == [(v.index, v.genotype) for v in drawn]


def test_operation_variants_are_told_from_connection_variants_by_name(folder):
    operations = [m.variant for m in members("{operations: paper10}")]
    assert operations == [
        "DARTS", *(f"OPS{i}" for i in range(1, 6)), *(f"ops seed {i}" for i in range(6, 11))
    ]  # fmt: skip
    assert not set(operations[1:]) & {m.variant for m in members("paper10")}


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ("{mode: uniform, n: 3, seed: 7}", Uniform(n=3, seed=7)),
        ("{mode: uniform, no_dead_nodes: true}", Uniform(no_dead_nodes=True)),
        ("{mode: stratified, widths: [2, 3.5]}", Stratified(widths=(2.0, 3.5))),
        (
            "{mode: profile, slots: [[2, 4], [2.5, 3]], distinct_sources: true, first_seed: 100}",
            Profile(slots=((2.0, 4), (2.5, 3)), distinct_sources=True, first_seed=100),
        ),
    ],
)
def test_options_of_a_draw_arrive(folder, options, how):
    found = members(f"{{connections: {options}}}")[1:]
    assert [m.spec.genotype for m in found] == [
        v.genotype for v in connection_variants("DARTS", how)
    ]


def test_a_users_own_cell_has_variants_too(folder):
    written = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1], ["skip_connect", 2], ["skip_connect", 0]]
    cells = {"normal": written, "normal_concat": [3], "reduce": written, "reduce_concat": [3]}
    genotype = json.dumps([{"name": "mine"} | cells])
    for variants, count in [("paper4", 4), ("{connections: {mode: uniform, n: 2}}", 2)]:
        found = members(variants, genotype)
        assert [(m.base, m.index) for m in found] == [("mine", i) for i in range(count + 1)]
    assert "ops seed 10" in {m.variant for m in members("{operations: legacy}", genotype)}


def test_the_reduction_cell_may_be_kept_in_every_variant(folder):
    drawn = members("{connections: paper13}")
    kept = members("{connections: paper13, reduction: kept}")
    assert kept[0] == drawn[0]
    assert [m.spec.genotype.normal for m in kept] == [m.spec.genotype.normal for m in drawn]
    assert {m.spec.genotype.reduce for m in kept} == {drawn[0].spec.genotype.reduce}
    assert drawn[1].spec.genotype.reduce != drawn[0].spec.genotype.reduce


def test_indices_keep_some_variants_under_their_numbers_beside_the_base(folder):
    figure_4 = members("{connections: main_text, indices: [3, 1]}")
    assert [(m.index, m.variant) for m in figure_4] == [(0, "DARTS"), (1, "CONN1"), (3, "CONN3")]
    whole = {m.index: m.spec.trial_id for m in members("main_text")}
    assert {m.index: m.spec.trial_id for m in figure_4}.items() <= whole.items()


def test_variants_of_the_file_can_be_changed_one_key_at_a_time(folder):
    (folder / "x.yaml").write_text(
        edited("paper4", "{connections: {mode: uniform, n: 4}}").replace(", SNAS]", "]")
    )
    found = load_experiment(
        "x.yaml", overrides=["grid.variants.connections.n=3", "grid.variants.indices=[2]"]
    )
    assert found.grid.variants == Variants(connections=Uniform(n=3), indices=(2,))
    assert {m.index for m in found.members()} == {0, 2}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("null", ": unknown set of variants null\n  did you mean none?"),
        ("uniforn", ": unknown set of variants 'uniforn'\n  did you mean uniform?"),
        ("{conections: paper4}", ".conections\n  did you mean connections"),
        ("{connections: none}", ".connections: unknown set of connection variants 'none'\n  use"),
        ("{connections: null}", ".connections: unknown set of connection variants null"),
        ("{connections: {n: 3}}", ".connections: no mode is given\n  add mode: paper4"),
        ("{connections: {mode: [1]}}", ".mode: unknown set of connection variants [1]"),
        ("{connections: {mode: paper4, n: 3}}", ".connections.n\n  use mode"),
        ("{connections: {mode: uniform, slots: []}}", ".connections.slots\n  use one of distinct"),
        ("{connections: {mode: uniform, n: 0}}", ".n is 0\n  use a whole number from 1 to"),
        ("{connections: {mode: uniform, n: 1.0}}", ".n is 1.0, not a whole number"),
        ("{connections: {mode: uniform, seed: -1}}", ".seed is -1\n  use a whole number from 0"),
        ("{connections: {mode: uniform, no_dead_nodes: 1}}", " is 1, not true or false"),
        ("{connections: {mode: stratified, widths: 2}}", ".widths is 2, not a list\n  write it in"),
        ("{connections: {mode: stratified, widths: [.inf]}}", ".widths: width inf is no number"),
        ("{connections: {mode: profile, slots: [[2, 4], [2]]}}", ".slots[1][1] is missing"),
        ("{connections: {mode: profile, slots: [[2, 4.5]]}}", ".slots[0][1] is 4.5, not a whole"),
        ("{connections: {mode: profile, slots: [[2, 4, 5]]}}", ".slots[0] is [2, 4, 5]\n  keep 2"),
        ("{connections: {mode: profile, slots: [[.nan, 4]]}}", ".slots: slot (nan, 4) is no (wi"),
        ("{connections: {mode: profile, first_seed: -1}}", ".first_seed: seed is -1"),
        (
            "{operations: paper13}",
            ".operations: unknown set of operation variants 'paper13'\n  did",
        ),
        ("{operations: {mode: legacy}}", ": unknown set of operation variants {'mode': 'legacy'}"),
        ("{operations: null}", ".operations: unknown set of operation variants null"),
        (
            "{connections: paper4, operations: legacy}",
            ": connections and operations are both given",
        ),
        ("{indices: [1]}", ": indices of no variants\n  add connections or operations"),
        ("{reduction: kept}", ": reduction of no variants\n  add connections or operations"),
        ("{operations: legacy, reduction: redrawn}", "use one of drawn, kept"),
        ("{operations: legacy, indices: []}", ".indices: the list is empty"),
        ("{operations: legacy, indices: [0]}", ".indices[0] is 0\n  it should be greater than or"),
        ("{operations: legacy, indices: [2, 2]}", ".indices: 2 given more than once"),
    ],
)
def test_bad_variants_are_told_with_their_line_and_how_to_mend_them(folder, variants, message):
    (folder / "x.yaml").write_text(edited("paper4", variants))
    told = refused()
    assert told.startswith(("x.yaml:5: grid.variants", "x.yaml:5: unknown key grid.variants"))
    assert message in told


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("main_text", "SNAS has no connection variants 'main_text'\n  use paper4 or profile"),
        ("profile", "Table 2 does not have SNAS\n  name the slots, or use NASNet"),
        ("{operations: paper10}", "SNAS has no operation variants 'paper10'\n  use legacy"),
        ("{operations: legacy, indices: [1, 12]}", "SNAS: there is no variant 12\n  use indices"),
    ],
)
def test_variants_that_a_base_lacks_are_told_at_the_base(folder, variants, message):
    (folder / "x.yaml").write_text(
        edited("[DARTS, SNAS]", "\n  - SNAS").replace("paper4", variants)
    )
    assert refused().startswith(f"x.yaml:5: grid.variants: {message}")


def test_a_draw_that_finds_too_few_cells_is_told_with_the_base(folder):
    written = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    cells = {"normal": written, "normal_concat": [2], "reduce": written, "reduce_concat": [2]}
    (folder / "small.json").write_text(json.dumps(cells))
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "[DARTS, {file: small.json}]"))
    told = refused(overrides=["grid.variants={connections: {mode: uniform, n: 4}}"])
    why = "stays empty: of this shape there are 2 cells"
    assert f"grid.variants: small: slot 3 of 4 (any shape) {why}" in told
    assert "DARTS" not in told


def test_all_bad_options_are_told_at_once_each_with_its_line(folder):
    lines = ["connections:", "  mode: uniform", "  n: 0", "  seed: x", "  m: 1"]
    block = "".join(f"\n    {line}" for line in lines)
    (folder / "x.yaml").write_text(edited(" paper4", block))
    told = [line.split(": ")[:2] for line in refused().splitlines() if line.startswith("x.yaml")]
    assert told == [
        ["x.yaml:8", "grid.variants.connections.n is 0"],
        ["x.yaml:9", "grid.variants.connections.seed is 'x', not a whole number"],
        ["x.yaml:10", "unknown key grid.variants.connections.m"],
    ]
