import json

import pytest
from experiment_files import edited, refused

from orchestrator.config.experiment import load_experiment
from results_schema.genotype import Cell, Genotype
from workers.cells.bases import named, zoo, zoo_genotype

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


def load(entries: str, path: str = "x.yaml") -> dict[str, Genotype]:
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
    assert load(f"[{entry}]") == {"mine": MINE}


def test_a_file_lies_beside_the_experiment_wherever_that_is(folder, monkeypatch):
    (folder / "mine.json").write_text(json.dumps(MINE.to_json()))
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert load("[{file: mine.json}]", "../x.yaml") == {"mine": MINE}
    absolute = json.dumps(str(folder / "mine.json"))
    assert load(f"[{{file: {absolute}}}]", "../x.yaml") == {"mine": MINE}


def test_a_cell_of_the_zoo_goes_by_its_name_there(folder):
    entries = (
        "[{zoo: PDARTS}, {zoo: ENAS (official arc)}, {zoo: SNAS, name: SNAS of the zoo}, SNAS]"
    )
    assert load(entries) == {
        "PDARTS": zoo_genotype("PDARTS"),
        "ENAS (official arc)": zoo_genotype("ENAS (official arc)"),
        "SNAS of the zoo": zoo_genotype("SNAS"),
        "SNAS": named("SNAS"),
    }


def test_every_cell_of_the_zoo_is_in_reach(folder):
    names = sorted(zoo())
    entries = [{"zoo": name, "name": f"zoo {name}"} for name in names]
    assert load(json.dumps(entries)) == {f"zoo {name}": zoo_genotype(name) for name in names}


def test_a_published_cell_by_another_way_is_that_cell(folder):
    (folder / "DARTS_V2.json").write_text(json.dumps(named("DARTS").to_json()))
    assert load("[{zoo: NASNet}, {file: DARTS_V2.json}]") == {
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
        ("{zoo: [PDARTS]}", "[0].zoo is ['PDARTS'], not text"),
        ("{zoo: SNAS}", "[0]: SNAS is the name of a published cell, and this is another\n  add"),
        ("{zoo: PDARTS, name: SNAS_MILD}", "[0].name: SNAS_MILD is the name of a published cell"),
        ("{zoo: PDARTS, name: ''}", "[0].name: '' is no name"),
        ("{zoo: PDARTS, name: ' a'}", "[0].name: ' a' is no name"),
        ('{zoo: PDARTS, name: "a\\e[2J"}', r"[0].name: 'a\x1b[2J' is no name"),
        (
            f"{{zoo: PDARTS, name: {'a' * 61}}}",
            "is no name\n  use one line of at most 60 characters",
        ),
        ("{zoo: PDARTS, name: 1}", "[0].name is 1, not text"),
        ("{zoo: PDARTS, name: }", "[0].name is null, not text"),
        (
            "{zoo: PDARTS, file: a.json}",
            "unknown key grid.genotype[0].file\n  use one of zoo, name",
        ),
        ("{zoo: PDARTS}, {zoo: PDARTS}", ": 'PDARTS' given more than once"),
        ("{zoo: PDARTS, name: a}, {zoo: GDAS_V1, name: a}", ": 'a' given more than once"),
        ("{fil: a.json}", "[0]: {'fil': 'a.json'} is no genotype\n  name a published cell, or"),
        ("{}", "[0]: {} is no genotype"),
        ("{file: }", "[0].file is null, not text"),
        ("{file: none.json}", "[0].file: none.json: cannot read: No such file or directory"),
        ("{file: x.py}", "[0].file: x.py: a genotype in a .py file\n  use .json, .yaml"),
        ('{file: "a\\0.json"}', "[0] is {'file': 'a\\x00.json'}\n  embedded null"),
        ("{text: Genotype()}", "[0].text: Genotype(…) is given nothing\n  write Genotype(normal="),
        (f'{{text: "{TEXT}"}}', "[0]: the genotype has no name\n  add a name of its own"),
        ("{name: a, text: print()}", "[0].text: the text is not one Genotype(…)"),
        (f"{{{FLOW}}}", "[0]: the genotype has no name"),
        ("{name: a, normal: []}", "no genotype with the keys ['normal']\n  use the keys normal"),
    ],
)
def test_a_bad_entry_is_told_with_its_line_and_how_to_mend_it(folder, entry, message):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", f"[{entry}]"))
    told = refused()
    assert told.startswith("x.yaml:4: ")
    assert message in told


def test_a_bad_edge_is_told_by_cell_node_and_edge_and_what_is_allowed(folder):
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


def test_all_bad_entries_are_told_at_once(folder):
    (folder / "x.yaml").write_text(edited("[DARTS, SNAS]", "[A, {zoo: B}, {file: c.json}, DARTS]"))
    told = [line.split(": ")[1] for line in refused().splitlines() if line.startswith("x.yaml")]
    assert told == ["grid.genotype[0]", "grid.genotype[1].zoo", "grid.genotype[2].file"]
