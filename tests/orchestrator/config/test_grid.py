"""The grid: its product, the cells it names, their variants, and cells by name."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from experiment_files import edited, refused

from orchestrator.config.experiment import Experiment, Member, load_experiment
from orchestrator.config.grid import CONNECTIONS, OPERATIONS, find
from results_schema.errors import NasSweepError
from results_schema.genotype import Cell, Genotype
from workers.cells.bases import named, zoo, zoo_genotype
from workers.cells.sampling import Profile, Stratified, Uniform
from workers.cells.topology import dead_nodes, reconcat
from workers.cells.variants import connection_variants, operation_variants

RECONCAT = "grid.reconcat=true"


def test_a_grid_too_large_to_list_is_refused(folder):
    seeds = f"[{', '.join(map(str, range(3_000)))}]"
    (folder / "x.yaml").write_text(edited("[0, 1]", seeds))
    assert refused() == "x.yaml:3: the grid has 120,000 trials\n  stay within 100,000"


def test_a_base_without_the_variants_is_blamed_on_whoever_named_it(folder):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "\n  - DARTS\n  - ENAS"))
    reported = refused(overrides=["grid.genotype=[DARTS, SNAS_ADAPT]", "grid.variants=paper10"])
    assert reported.startswith("--set grid.variants=paper10: grid.variants: SNAS_ADAPT has no conn")
    (folder / "x.yaml").write_text(edited("paper4", "paper10"))
    assert refused().startswith("x.yaml:4: grid.variants: SNAS has no")


def with_and_without_reconcat(*overrides: str) -> tuple[list[Member], list[Member]]:
    plain = load_experiment("x.yaml", overrides=overrides)
    return plain.members(), load_experiment("x.yaml", overrides=[*overrides, RECONCAT]).members()


def test_reconcat_repairs_every_cell_after_its_variants_are_drawn(folder):
    plain, repaired = with_and_without_reconcat("grid.genotype=[AmoebaNet, AmoebaNet_ADAPT]")
    assert any(dead_nodes(member.spec.genotype.normal) for member in plain)
    for before, after in zip(plain, repaired, strict=True):
        assert replace(after, spec=before.spec) == before
        assert after.spec.genotype == reconcat(before.spec.genotype)
        for cell in (after.spec.genotype.normal, after.spec.genotype.reduce):
            assert not dead_nodes(cell)


def test_reconcat_keeps_the_trials_of_cells_without_dead_nodes(folder):
    plain, repaired = with_and_without_reconcat("grid.genotype=[DARTS]", "grid.variants=paper13")
    assert repaired == plain


def test_reconcat_is_yes_or_no(folder):
    (folder / "x.yaml").write_text(edited("paper4", "paper4\n  reconcat: 1"))
    assert refused() == "x.yaml:6: grid.reconcat is 1, not true or false"


CELL = Cell.from_pairs([("sep_conv_3x3", 0), ("skip_connect", 1)], [2])
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


@pytest.mark.parametrize(
    "entry",
    [
        f"{{name: mine, {FLOW}}}",
        f'{{name: mine, text: "{TEXT}"}}',
        f'{{name: mine, text: "DARTS = {TEXT}"}}',
        json.dumps({"name": "mine"} | MINE.to_json()),
        "{file: mine.json}",
        "{file: mine.yaml}",
        "{file: mine.txt}",
        "{file: ./cells/../mine.json}",
        "{file: cells/other.json, name: mine}",
    ],
)
def test_a_users_own_cell_is_the_same_in_every_form(folder, entry):
    (folder / "cells").mkdir()
    for path in ("mine.json", "cells/other.json"):
        (folder / path).write_text(json.dumps(MINE.to_json()))
    (folder / "mine.yaml").write_text(DARTS_FORM)
    (folder / "mine.txt").write_text(TEXT)
    assert load_bases(f"[{entry}]") == {"mine": MINE}


def test_a_file_lies_beside_the_experiment_wherever_that_is(folder, monkeypatch):
    (folder / "mine.json").write_text(json.dumps(MINE.to_json()))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert load_bases("[{file: mine.json}]", "../x.yaml") == {"mine": MINE}
    absolute = json.dumps(str(folder / "mine.json"))
    assert load_bases(f"[{{file: {absolute}}}]", "../x.yaml") == {"mine": MINE}


def test_a_cell_of_the_zoo_goes_by_its_name_there(folder):
    entries = (
        "[{zoo: PDARTS}, {zoo: ENAS (official arc)}, {zoo: SNAS, name: SNAS of the zoo}, SNAS]"
    )
    assert load_bases(entries) == {
        "PDARTS": zoo_genotype("PDARTS"),
        "ENAS (official arc)": zoo_genotype("ENAS (official arc)"),
        "SNAS of the zoo": zoo_genotype("SNAS"),
        "SNAS": named("SNAS"),
    }


def test_every_cell_of_the_zoo_is_in_reach(folder):
    names = sorted(zoo())
    entries = [{"zoo": name, "name": f"zoo {name}"} for name in names]
    assert load_bases(json.dumps(entries)) == {f"zoo {name}": zoo_genotype(name) for name in names}


def test_a_published_cell_by_another_way_is_that_cell(folder):
    (folder / "DARTS_V2.json").write_text(json.dumps(named("DARTS").to_json()))
    assert load_bases("[{zoo: NASNet}, {file: DARTS_V2.json}]") == {
        "NASNet": named("NASNet"),
        "DARTS": named("DARTS"),
    }
    assert load_experiment(
        "x.yaml", overrides=["grid.genotype=[{file: DARTS_V2.json}]", "grid.variants=paper13"]
    ).members()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("PDARTS", "[0]: unknown genotype 'PDARTS'\n  write {zoo: PDARTS}"),
        ("{zoo: PDART}", "[0].zoo: the zoo has no 'PDART'\n  did you mean PDARTS"),
        ("{zoo: [PDARTS]}", "[0].zoo is ['PDARTS']\n  write text"),
        (
            "{zoo: SNAS}",
            "[0].name: SNAS is the name of a published cell, and this is another\n  add",
        ),
        ("{zoo: PDARTS, name: SNAS_MILD}", "[0].name: SNAS_MILD is the name of a published cell"),
        ("{zoo: PDARTS, name: ''}", "[0].name: '' is no name"),
        ("{zoo: PDARTS, name: ' a'}", "[0].name: ' a' is no name"),
        ('{zoo: PDARTS, name: "a\\e[2J"}', r"[0].name: 'a\x1b[2J' is no name"),
        (
            f"{{zoo: PDARTS, name: {'a' * 61}}}",
            "is no name\n  use one line of at most 60 characters",
        ),
        ("{zoo: PDARTS, name: 1}", "[0].name is 1\n  write text"),
        ("{zoo: PDARTS, name: }", "[0].name is null\n  write text"),
        (
            "{zoo: PDARTS, file: a.json}",
            "unknown key grid.genotype[0].file\n  use one of zoo, name",
        ),
        ("{zoo: PDARTS}, {zoo: PDARTS}", ": 'PDARTS' given more than once"),
        ("{zoo: PDARTS, name: a}, {zoo: GDAS_V1, name: a}", ": 'a' given more than once"),
        ("{fil: a.json}", "[0]: {'fil': 'a.json'} is no genotype\n  name a published cell, or"),
        ("{}", "[0]: {} is no genotype"),
        ("{file: }", "[0].file is null\n  write text"),
        ("{file: none.json}", "[0].file: none.json: there is no such file"),
        ("{file: x.py}", "[0].file: x.py: a genotype in a .py file\n  use .json, .yaml"),
        ('{file: "a\\0.json"}', "[0].file: a\0.json: there is no such file"),
        ("{text: Genotype()}", "[0].text: Genotype(…) is given nothing\n  write Genotype(normal="),
        (f'{{text: "{TEXT}"}}', "[0].name: the genotype has no name\n  add a name of its own"),
        ("{name: a, text: print()}", "[0].text: the text is not one Genotype(…)"),
        (f"{{{FLOW}}}", "[0].name: the genotype has no name"),
        ("{name: a, normal: []}", "no genotype with the keys ['normal']\n  use the keys normal"),
    ],
)
def test_a_bad_entry_is_reported_with_its_line_and_a_fix(folder, entry, message):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", f"[{entry}]"))
    reported = refused()
    assert reported.startswith("x.yaml:4: ")
    assert message in reported


def test_a_bad_edge_is_reported_by_cell_node_and_edge_and_what_is_allowed(folder):
    lines = DARTS_FORM.replace("reduce: [[sep_conv_3x3", "reduce: [[conv").splitlines()
    entry = "\n      ".join(["\n    - DARTS\n    - name: mine", *lines])
    (folder / "x.yaml").write_text(edited(" [DARTS, SNAS]", entry))
    assert refused().startswith(
        "x.yaml:9: grid.genotype[1].reduce: reduce cell, node 2, edge 0: unknown operation 'conv'\n"
        "  use one of max_pool_3x3, avg_pool_3x3, skip_connect, sep_conv_3x3,"
    )
    bad = MINE.to_json()
    bad["normal"]["nodes"][0][1][1] = 2
    (folder / "cell.json").write_text(json.dumps(bad))
    (folder / "x.yaml").write_text(edited("SNAS]", "{file: cell.json}]"))
    assert refused() == (
        "x.yaml:4: grid.genotype[1].file: cell.json: normal cell, node 2, edge 1: source 2 does not"
        " come before the node\n  use a node from 0 to 1"
    )


def test_all_bad_entries_are_reported_at_once(folder):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "[A, {zoo: B}, {file: c.json}, DARTS]"))
    reported = [line.split(": ")[1] for line in refused().splitlines() if line.startswith("x.yaml")]
    assert reported == ["grid.genotype[0]", "grid.genotype[1].zoo", "grid.genotype[2].file"]


def load_variants(variants: str, genotype: str = "[DARTS]") -> Experiment:
    """An experiment of one genotype at one learning rate and seed."""
    axes = ["grid.dataset=[digits]", "grid.learning_rate=[0.1]", "grid.seed=[0]"]
    return load_experiment(
        "x.yaml", overrides=[*axes, f"grid.genotype={genotype}", f"grid.variants={variants}"]
    )


def members(variants: str, genotype: str = "[DARTS]") -> list[Member]:
    return load_variants(variants, genotype).members()


@pytest.mark.parametrize("mode", CONNECTIONS)
def test_every_set_of_connection_variants_is_the_workers(folder, mode):
    found = members(mode)
    drawn = connection_variants("DARTS", mode)
    assert [(m.index, m.variant, m.spec.genotype) for m in found[1:]] == [
        (v.index, v.name, v.genotype) for v in drawn
    ]
    assert (found[0].index, found[0].variant) == (0, "DARTS")
    assert load_variants(f"{{connections: {mode}}}") == load_variants(mode)
    assert load_variants(f"{{connections: {{mode: {mode}}}}}") == load_variants(mode)


@pytest.mark.parametrize("mode", OPERATIONS)
def test_every_set_of_operation_variants_is_the_workers(folder, mode):
    found = members(f"{{operations: {mode}}}")[1:]
    drawn = operation_variants("DARTS", mode)
    assert [(m.index, m.spec.genotype) for m in found] == [(v.index, v.genotype) for v in drawn]


def test_operation_variants_are_reported_from_connection_variants_by_name(folder):
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
    assert found.grid.variants.connections == Uniform(n=3)
    assert {m.index for m in found.members()} == {0, 2}


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("null", ": no set of variants is named\n  did you mean none?"),
        ("uniforn", ": unknown set of variants 'uniforn'\n  did you mean uniform?"),
        ("{conections: paper4}", ".conections\n  did you mean connections"),
        ("{connections: none}", ".connections: unknown set of connection variants 'none'\n  use"),
        ("{connections: null}", ".connections: no set of connection variants is named"),
        (
            "{connections: {n: 3}}",
            ".connections.mode: no set of connection variants is named\n  use one of paper4",
        ),
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
        (
            "{connections: {mode: profile, slots: [[2, 4, 5]]}}",
            ".slots[0] is [2, 4, 5]\n  Tuple should have at most 2 items",
        ),
        ("{connections: {mode: profile, slots: [[.nan, 4]]}}", ".slots: slot (nan, 4) is no (wi"),
        ("{connections: {mode: profile, first_seed: -1}}", ".first_seed: seed is -1"),
        (
            "{operations: paper13}",
            ".operations: unknown set of operation variants 'paper13'\n  did",
        ),
        ("{operations: {mode: legacy}}", ": unknown set of operation variants {'mode': 'legacy'}"),
        ("{operations: null}", ".operations: no set of operation variants is named"),
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
def test_bad_variants_are_reported_with_their_line_and_a_fix(folder, variants, message):
    (folder / "x.yaml").write_text(edited("paper4", variants))
    reported = refused()
    assert reported.startswith(("x.yaml:5: grid.variants", "x.yaml:5: unknown key grid.variants"))
    assert message in reported


@pytest.mark.parametrize(
    ("variants", "message"),
    [
        ("main_text", "SNAS has no connection variants 'main_text'\n  use paper4 or profile"),
        ("profile", "Table 2 does not have SNAS\n  name the slots, or use NASNet"),
        ("{operations: paper10}", "SNAS has no operation variants 'paper10'\n  use legacy"),
        ("{operations: legacy, indices: [1, 12]}", "SNAS: there is no variant 12\n  use indices"),
    ],
)
def test_variants_that_a_base_lacks_are_reported_at_the_base(folder, variants, message):
    (folder / "x.yaml").write_text(
        edited("[DARTS, SNAS]", "\n  - SNAS").replace("paper4", variants)
    )
    assert refused().startswith(f"x.yaml:5: grid.variants: {message}")


def test_a_draw_that_finds_too_few_cells_is_reported_with_the_base(folder):
    written = [["sep_conv_3x3", 0], ["sep_conv_3x3", 1]]
    cells = {"normal": written, "normal_concat": [2], "reduce": written, "reduce_concat": [2]}
    (folder / "small.json").write_text(json.dumps(cells))
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "[DARTS, {file: small.json}]"))
    reported = refused(overrides=["grid.variants={connections: {mode: uniform, n: 4}}"])
    why = "stays empty: of this shape there are 2 cells"
    assert f"grid.variants: small: slot 3 of 4 (any shape) {why}" in reported
    assert "DARTS" not in reported


def test_all_bad_options_are_reported_at_once_each_with_its_line(folder):
    lines = ["connections:", "  mode: uniform", "  n: 0", "  seed: x", "  m: 1"]
    block = "".join(f"\n    {line}" for line in lines)
    (folder / "x.yaml").write_text(edited(" paper4", block))
    reported = [
        line.split(": ")[:2] for line in refused().splitlines() if line.startswith("x.yaml")
    ]
    assert reported == [
        ["x.yaml:8", "grid.variants.connections.n is 0"],
        ["x.yaml:9", "grid.variants.connections.seed is 'x', not a whole number"],
        ["x.yaml:10", "unknown key grid.variants.connections.m"],
    ]


@pytest.mark.parametrize(
    ("what", "name", "published"),
    [
        ("DARTS", "DARTS", True),
        ("DARTS_V2", "DARTS", True),
        ("SNAS_MILD", "SNAS", True),
        ("PDARTS", "PDARTS", False),
        ("GDAS_V1 (D-X-Y)", "GDAS_V1 (D-X-Y)", False),
        ("zoo:SNAS", "zoo:SNAS", False),
    ],
)
def test_a_name_is_the_papers_before_the_zoos(what: str, name: str, published: bool):
    found = find(what)
    assert (found.name, found.published) == (name, published)


def test_the_zoo_may_have_another_cell_under_a_name_of_the_paper():
    assert find("SNAS").genotype == named("SNAS")
    assert find("zoo:SNAS").genotype == zoo_genotype("SNAS") != named("SNAS")


def test_a_file_holds_ones_own(tmp_path: Path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(named("ENAS").to_json()))
    found = find(str(file))
    assert (found.name, found.genotype) == ("mine", named("ENAS"))
    assert found.origin == named("ENAS")


@pytest.mark.parametrize(
    ("what", "reported"),
    [
        ("darts", "did you mean DARTS"),
        ("p-darts", "did you mean .*PDARTS"),
        ("", "nas-sweep cells"),
        ("Ω", "nas-sweep cells"),
        ("zoo:", "the zoo has no ''"),
        ("missing.yaml", "missing.yaml: there is no such file"),
    ],
)
def test_what_cannot_be_found_is_refused_with_a_hint(what: str, reported: str):
    with pytest.raises(NasSweepError, match=reported) as caught:
        find(what)
    assert caught.value.exit_code == 2
