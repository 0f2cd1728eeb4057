"""The grid: its product, the cells it names, their variants, and cells by name."""

import json
from dataclasses import replace

import pytest
from experiment_files import edited

from orchestrator.config.experiment import Member, load_experiment
from orchestrator.config.grid import CONNECTIONS, OPERATIONS, Base, find
from results_schema.errors import NasSweepError
from results_schema.genotype import Cell, Genotype
from workers.cells.bases import named, zoo_genotype
from workers.cells.sampling import Profile, Stratified, Uniform
from workers.cells.topology import dead_nodes, reconcat
from workers.cells.variants import connection_variants, operation_variants


def test_reconcat_repairs_every_cell_after_its_variants_are_drawn(folder):
    axes = ["grid.genotype=[AmoebaNet, DARTS]", "grid.variants=paper13"]
    plain = load_experiment("x.yaml", overrides=axes).members()
    repaired = load_experiment("x.yaml", overrides=[*axes, "grid.reconcat=true"]).members()
    assert any(dead_nodes(member.spec.genotype.normal) for member in plain)
    for before, after in zip(plain, repaired, strict=True):
        assert replace(after, spec=before.spec) == before
        assert after.spec.genotype == reconcat(before.spec.genotype)
        for cell in (after.spec.genotype.normal, after.spec.genotype.reduce):
            assert not dead_nodes(cell)
        assert before.base != "DARTS" or after == before, "without dead nodes it is the same trial"


CELL = Cell.from_json({"nodes": [[("sep_conv_3x3", 0), ("skip_connect", 1)]], "concat": [2]})
MINE = Genotype(CELL, CELL)
DARTS_FORM = """\
normal: [[sep_conv_3x3, 0], [skip_connect, 1]]
normal_concat: [2]
reduce: [[sep_conv_3x3, 0], [skip_connect, 1]]
reduce_concat: [2]
"""
FLOW = DARTS_FORM.strip().replace("\n", ", ")
TEXT = (
    "Genotype(normal=[('sep_conv_3x3', 0), ('skip_connect', 1)], normal_concat=[2], "
    "reduce=[('sep_conv_3x3', 0), ('skip_connect', 1)], reduce_concat=range(2, 3))"
)
SET = ["grid.variants=none", "grid.dataset=[digits]", "grid.learning_rate=[0.1]", "grid.seed=[0]"]


def load_bases(entries: str, path: str = "x.yaml") -> dict[str, Genotype]:
    """The genotype of every base of an experiment without variants."""
    experiment = load_experiment(path, overrides=[*SET, f"grid.genotype={entries}"])
    return {member.base: member.spec.genotype for member in experiment.members()}


ENTRIES = [
    f"{{name: mine, {FLOW}}}",
    f'{{name: mine, text: "{TEXT}"}}',
    f'{{name: mine, text: "DARTS = {TEXT}"}}',
    json.dumps({"name": "mine"} | MINE.to_json()),
    "{file: mine.json}",
    "{file: mine.yaml}",
    "{file: mine.txt}",
    "{file: ./cells/../mine.json}",
    "{file: cells/other.json, name: mine}",
]


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_users_own_cell_is_the_same_in_every_form_wherever_the_command_runs(
    folder, monkeypatch, entry
):
    for name in ("cells", "elsewhere"):
        (folder / name).mkdir()
    for path in ("mine.json", "cells/other.json"):
        (folder / path).write_text(json.dumps(MINE.to_json()))
    (folder / "mine.yaml").write_text(DARTS_FORM)
    (folder / "mine.txt").write_text(TEXT)
    monkeypatch.chdir(folder / "elsewhere")  # files lie beside the experiment
    absolute = f"{{file: {json.dumps(str(folder / 'mine.json'))}}}"
    assert load_bases(f"[{entry}]", "../x.yaml") == {"mine": MINE}
    assert load_bases(f"[{absolute}]", "../x.yaml") == {"mine": MINE}


def test_a_cell_of_the_zoo_goes_by_its_name_there(folder):
    assert load_bases("[{zoo: ENAS (official arc)}, {zoo: SNAS, name: other}, SNAS]") == {
        "ENAS (official arc)": zoo_genotype("ENAS (official arc)"),
        "other": zoo_genotype("SNAS"),
        "SNAS": named("SNAS"),
    }


def test_a_published_cell_by_another_way_is_that_cell(folder):
    (folder / "DARTS_V2.json").write_text(json.dumps(named("DARTS").to_json()))
    assert load_bases("[{zoo: NASNet}, {file: DARTS_V2.json}]") == {
        "NASNet": named("NASNet"),
        "DARTS": named("DARTS"),
    }
    assert load_experiment(
        "x.yaml", overrides=["grid.genotype=[{file: DARTS_V2.json}]", "grid.variants=paper13"]
    ).members()


def members(variants: str, genotype: str = "[DARTS]") -> list[Member]:
    """The members of one genotype at one learning rate and seed."""
    axes = [*SET, f"grid.genotype={genotype}", f"grid.variants={variants}"]
    return load_experiment("x.yaml", overrides=axes).members()


@pytest.mark.parametrize("mode", CONNECTIONS)
def test_every_set_of_connection_variants_is_the_workers(folder, mode):
    found = members(mode)
    drawn = connection_variants("DARTS", mode)
    assert [(m.index, m.variant, m.spec.genotype) for m in found[1:]] == [
        (v.index, v.name, v.genotype) for v in drawn
    ]
    assert (found[0].index, found[0].variant) == (0, "DARTS")
    assert members(f"{{connections: {mode}}}") == found
    assert members(f"{{connections: {{mode: {mode}}}}}") == found


@pytest.mark.parametrize("mode", OPERATIONS)
def test_every_set_of_operation_variants_is_the_workers_under_names_of_its_own(folder, mode):
    found = members(f"{{operations: {mode}}}")[1:]
    drawn = operation_variants("DARTS", mode)
    assert [(m.index, m.spec.genotype) for m in found] == [(v.index, v.genotype) for v in drawn]
    assert not {m.variant for m in found} & {m.variant for m in members("paper10")}
    assert mode != "paper10" or [found[0].variant, found[-1].variant] == ["OPS1", "ops seed 10"]


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
    (folder / "x.yaml").write_text(edited("paper4", "{connections: {mode: uniform, n: 4}}"))
    changes = ["connections.n=3", "indices=[2]"]
    found = load_experiment("x.yaml", overrides=[f"grid.variants.{one}" for one in changes])
    assert found.grid.variants.connections == Uniform(n=3)
    assert {m.index for m in found.members()} == {0, 2}


def test_a_name_is_the_papers_before_the_zoos_whose_cells_have_no_published_variants(tmp_path):
    for what, name, published in (
        ("DARTS_V2", "DARTS", True),
        ("SNAS_MILD", "SNAS", True),
        ("GDAS_V1 (D-X-Y)", "GDAS_V1 (D-X-Y)", False),
        ("zoo:SNAS", "zoo:SNAS", False),
    ):
        found = find(what)
        assert (found.name, found.published) == (name, published)
    assert find("zoo:SNAS").genotype == zoo_genotype("SNAS") != named("SNAS")
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(named("ENAS").to_json()))
    assert find(str(file)) == Base("mine", named("ENAS"))
    assert find(str(file)).origin == named("ENAS")


@pytest.mark.parametrize(
    ("what", "named"),
    [
        ("darts", "did you mean DARTS"),
        ("p-darts", "did you mean .*PDARTS"),
        ("Ω", "nas-sweep cells"),
        ("zoo:", "the zoo has no ''"),
        ("missing.yaml", "missing.yaml: there is no such file"),
    ],
)
def test_what_cannot_be_found_is_refused_with_a_hint(what: str, named: str):
    with pytest.raises(NasSweepError, match=named) as caught:
        find(what)
    assert caught.value.exit_code == 2
