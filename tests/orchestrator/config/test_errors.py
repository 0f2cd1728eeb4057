"""What is wrong with an experiment is reported at its line or option, with the value and a fix."""

import pytest
from experiment_files import GOOD, PROFILE, edited, refused

CELL = "normal: [[sep_conv_3x3, 0], [skip_connect, 1]], normal_concat: [2]"
DRAW = "grid.variants={connections: {mode: %s}}"

OPTIONS = [
    ("title=5", "title is 5", "not text"),
    ("title=''", "title: ''", "write a sentence"),
    (r'title="a \e[2J b"', r"'a \x1b[2J b'"),
    ("titel=x", "unknown key titel", "did you mean title?"),
    ("grid={}", "grid.genotype is missing", "add dataset: datasets"),
    ("grid=[]", "grid is []", "not keys and values"),
    ("grid.data=[digits]", "unknown key grid.data", "did you mean dataset?"),
    ("grid.genotype=[DARTS, SNAZ]", "grid.genotype[1]", "'SNAZ'", "did you mean SNAS"),
    ("grid.genotype=[1]", "grid.genotype[0] is 1", "not text"),
    ("grid.genotype=DARTS", "grid.genotype is 'DARTS'", "write it in brackets: [DARTS]"),
    ("grid.genotype=[]", "grid.genotype", "name at least one value"),
    ("grid.genotype=[DARTS, DARTS_V2]", "grid.genotype: 'DARTS' given more than once"),
    ("grid.genotype=[PDARTS]", "'PDARTS'", "write {zoo: PDARTS}"),
    ("grid.genotype=[{zoo: PDART}]", "[0].zoo", "'PDART'", "did you mean PDARTS"),
    ("grid.genotype=[{zoo: [PDARTS]}]", "[0].zoo is ['PDARTS']", "write text"),
    ("grid.genotype=[{zoo: PDARTS, name: SNAS_MILD}]", "[0].name: SNAS_MILD"),
    ("grid.genotype=[{zoo: PDARTS, name: ' a'}]", "[0].name: ' a' is no name"),
    (f"grid.genotype=[{{zoo: PDARTS, name: {'a' * 61}}}]", "at most 60 characters"),
    ("grid.genotype=[{zoo: PDARTS, name: }]", "[0].name is null"),
    ("grid.genotype=[{zoo: PDARTS, file: a}]", "unknown key grid.genotype[0].file", "zoo, name"),
    ("grid.genotype=[{fil: a.json}]", "[0]: {'fil': 'a.json'} is no genotype", "{file: PATH}"),
    ("grid.genotype=[{file: none.json}]", "[0].file: none.json", "no such file"),
    (r'grid.genotype=[{file: "a\0.json"}]', "[0].file: a", "no such file"),
    ("grid.genotype=[{name: a, text: print()}]", "[0].text"),
    (f"grid.genotype=[{{{CELL}}}]", "normal_concat", "reduce"),
    ("grid.variants=null", "no set of variants is named"),
    ("grid.variants={conections: paper4}", ".conections", "did you mean connections"),
    ("grid.variants={connections: none}", ".connections", "'none'", "use one of paper4"),
    ("grid.variants={connections: {n: 3}}", ".connections.mode", "use one of paper4"),
    (DRAW % "[1]", ".mode: unknown set of connection variants [1]"),
    (DRAW % "paper4, n: 3", ".connections.n", "use mode"),
    (DRAW % "uniform, slots: []", ".connections.slots", "use one of distinct"),
    (DRAW % "uniform, n: 1.0", ".n is 1.0", "whole number"),
    (DRAW % "uniform, no_dead_nodes: 1", " is 1", "true or false"),
    (DRAW % "stratified, widths: [.inf]", ".widths: width inf"),
    (DRAW % "profile, slots: [[2, 4], [2]]", ".slots[1][1] is missing"),
    (DRAW % "profile, slots: [[2, 4, 5]]", ".slots[0] is [2, 4, 5]", "at most 2"),
    ("grid.variants={operations: {mode: legacy, n: 3}}", "unknown key", "operations.n"),
    (
        "grid.variants={operations: {mode: uniform, n: 9, candidates: [noise]}}",
        "DARTS: only 1 of 9",
    ),
    ("grid.variants={connections: paper4, operations: legacy}", "both given", "keep one"),
    ("grid.seed=0-9", "grid.seed is '0-9', not a list", "{range: [0, 10]}"),
    (
        "landscape={contour: {epochs: [first]}}",
        "epochs[0]: 'first' is no epoch",
        "whole number or 'last'",
    ),
    ("grid.variants={indices: [1]}", "indices of no variants", "add connections"),
    ("grid.variants={operations: legacy, reduction: redrawn}", "use one of drawn, kept"),
    ("grid.variants=paper13", "SNAS has no connection variants 'paper13'", "use paper4 or profile"),
    ("grid.variants=profile", "does not have SNAS"),
    ("grid.variants={operations: legacy, indices: [1, 12]}", "variant 12", "from 1 to 10"),
    ("grid.reconcat=1", "grid.reconcat is 1", "true or false"),
    ("grid.dataset=[cifar10, cifar1000]", "grid.dataset[1]", "'cifar1000'", "mean cifar100"),
    ("grid.learning_rate=['0.25']", "grid.learning_rate[0] is '0.25'", "a number"),
    ("grid.learning_rate=[.nan]", "is nan", "it should be"),
    ("grid.seed=[0, null]", "grid.seed[1] is null", "whole number"),
    ("grid.seed=[-1]", "grid.seed[0] is -1"),
    ("network.cells=2", "network.cells is 2", "from 3"),
    ("network.channels=5", "network.channels is 5", "use an even number"),
    ("network.stem_stride=2", "unknown key network.stem_stride", "use one of cells, channels"),
    ("network=20", "network is 20", "keys and values"),
    ("recipe.epochs=two", "recipe.epochs is 'two'", "a whole number"),
    ("recipe.epochs=30.0", "recipe.epochs is 30.0"),
    (f"recipe.epochs={'x' * 10_000}", "recipe.epochs is 'xxx", "...", "a whole number"),
    ("recipe.version=1", "unknown key recipe.version", "use one of epochs"),
    ("recipe.momentum=1", "recipe.momentum is 1", "below 1"),
    ("recipe.schedule=linear", "recipe.schedule: unknown schedule", "use one of cosine, cosine_"),
    ("recipe.optimizer=adam", "recipe.optimizer: unknown optimizer 'adam'", "did you mean adamw"),
    ("recipe.augmentation=[mixup]", "recipe.augmentation: unknown augmentation 'mixup'"),
    ("recipe={epochs: 3, warmup_epochs: 3}", "recipe: 3 epochs with warm", "leave 0", "at least 1"),
    ("recipe.name=table2", "recipe.name: unknown recipe 'table2'", "mean table1"),
    ("precision=16", "precision: unknown precision 16", "bf16"),
    ("tables={t: shapez}", "tables.t", "'shapez'", "did you mean shapes?"),
    ("figures={a: accuracy}", "figures.a", "'accuracy'", "did you mean accuracy_by_index"),
    ("figures={../up: contours}", "figures.../up: '../up'", "use letters"),
    ("figures=[]", "figures is []"),
    ("figures={a: {}}", "figures.a.kind: no kind of figure is named", "use one of acc"),
    ("figures={a: {kind: contours, base: [A]}}", "unknown key figures.a.base", "mean bases"),
    ("figures={a: {kind: contours, bases: []}}", "figures.a.bases", "name at least one"),
    ("figures={a: {kind: contours, bases: [ENAS]}}", "figures.a.bases", "'ENAS'", "DARTS, SNAS"),
    ("figures={a: {kind: contours, learning_rates: [1.5]}}", "no 1.5", "one of 0.025, 0.25"),
    ("figures={a: {kind: convergence, range: {test_loss: [2, 1]}}}", "range.test_loss", "[LOWER"),
    ("figures={a: {kind: convergence, colour: recipe.epochs}}", "a.colour: the grid has no axis"),
    ("figures={a: {kind: trend, x: recipe.decay}}", "a.x: the grid has no axis 'recipe.decay'"),
    ("figures={a: {kind: trend, x: decay}}", "a.x: unknown property of a cell 'decay'"),
    ("figures={a: {kind: trend, facet: [seed, sed]}}", "no axis 'sed'", "did you mean seed"),
    ("figures={a: contours}", "figures.a: contours needs surfaces", "add landscape: {contour: {}}"),
    ("landscape={contours: {}}", "unknown key landscape.contours", "did you mean contour"),
    ("landscape={contour: 5}", "landscape.contour is 5"),
    ("landscape={contour: {grid: 0}}", "landscape.contour.grid: 0 is no grid"),
    ("landscape={contour: {grid: 50}}", "a grid of 50", "such as 51"),
    ("landscape={gradient_variance: {grid: [21, 10]}}", "[21, 11]"),
    ("landscape={contour: {extent: 0}}", "landscape.contour.extent is 0"),
    ("landscape={contour: {extents: {D3: 1.0}}}", "'D3'", "write base, C1"),
    ("landscape={contour: {epochs: [700]}}", "epoch is 700", "0 to 30"),
    ("landscape={contour: {by_parameter: true}}", "unknown key landscape.contour.by_parameter"),
    ("landscape={contour: {pairs: 1001, epochs: [1, 2, 3]}}", "surfaces", "within 100,000"),
    ("landscape={gradient_variance: {precision: bf16}}", "only a contour", "bf16"),
    ("landscape={gradient_variance: {auxiliary: true}}", "omit auxiliary"),
    ("grid.genotype.0=ENAS", "grid.genotype.0 cannot be set", "set grid.genotype as a whole"),
    ("grid.seed=[1, 2", "not YAML", "bracket"),
    ("grid.seed={a: 1, a: 2}", "a is given twice", "keep one"),
    ("title=!!python/name:os.system", "python/name:os.system is not allowed", "remove the tag"),
    ("grid", "no value is given", "write --set recipe.epochs=2"),
    ("a..b=2", "'a..b' is no path of keys", "write it as recipe.epochs"),
    (".".join("a" * 5000) + "=2", "is no path of keys"),
    ("\udcff=2", "is no path of keys"),
    ("title=\udcff", "not YAML"),
]


@pytest.mark.parametrize(("option", "named"), [(row[0], row[1:]) for row in OPTIONS], ids=str)
def test_a_bad_option_is_named_with_its_value_and_a_fix(folder, option, named):
    reported = refused(overrides=[option])
    assert reported.startswith("--set ")
    assert "x.yaml" not in reported
    assert len(reported) < 700
    reported.encode()
    assert [part for part in named if part not in reported] == []


@pytest.mark.parametrize(
    ("old", "new", "place", "named"),
    [
        ("title: A title\n", "", 1, "title is missing"),
        ("title: A", "title: B\ntitle: A", 2, "title is given twice, first in line 1"),
        ("  dataset:", "  data:", 3, "grid.dataset is missing"),
        ("[DARTS, SNAS]", "\n  - DARTS\n  - ENSA", 6, "grid.genotype[1]"),
        ("paper4", "paper13", 4, "grid.variants: SNAS has no connection variants"),
        ("paper4", "\n    connections:\n      mode: uniform\n      n: 0", 8, "connections.n is 0"),
        ("[0, 1]", f"{list(range(3000))}", 3, "120,000 trials\n  stay within 100,000"),
        ("cells: 8", "cell: 8", 9, "unknown key network.cell"),
        ("precision: fp32", "landscape:\n  contour:\n    grid: 2", 13, "landscape.contour.grid"),
        ("{accuracy: ", "\n  a: {kind: contours, indices: [-1]}\n  b: {c: ", 13, "figures.a"),
    ],
)
def test_a_bad_value_is_reported_at_its_line(folder, old, new, place, named):
    (folder / "x.yaml").write_text(edited(old, new))
    assert f"x.yaml:{place}: " in refused()
    assert named in refused()


@pytest.mark.parametrize(
    ("old", "new", "place", "named"),
    [
        ("recipe.epochs: 2", "recipe.epochs: two", 6, "recipe.epochs is 'two'"),
        ("recipe.epochs: 2", "recipe..epochs: 2", 6, "'recipe..epochs' is no path"),
        ("recipe.epochs: 2", "title.x: 2", 6, "title.x cannot be set: title is 'A ti"),
        ("  recipe.epochs: 2", "  grid.seed:\n  - 0\n  - x", 8, "grid.seed[1] is 'x'"),
        ("recipe.epochs: 2", "network.cells: 2", 6, "set.network.cells is given twice"),
        ("cifar10: digits", "cifar10: digit", 3, "datasets.cifar10"),
        ("description: Small.", "", 1, "description is missing"),
        ("set:", "sets:", 4, "did you mean set"),
        ("set:", "landscape: {contour: {grid: x}}\nset:", 4, "landscape.contour.grid"),
    ],
)
def test_a_bad_value_of_a_profile_is_blamed_on_the_profile(folder, old, new, place, named):
    (folder / "profiles/small.yaml").write_text(edited(old, new, PROFILE))
    (folder / "x.yaml").write_text(f"{GOOD}landscape: {{contour: {{}}}}\n")
    reported = refused(profile="small")
    assert reported.startswith(f"profiles/small.yaml:{place}: ")
    assert named in reported


def test_all_problems_are_reported_at_once_in_their_order(folder):
    text = edited("[DARTS, SNAS]", "[A, {zoo: B}, {file: c.json}, DARTS]")
    text = edited("paper4", "{connections: {mode: uniform, n: 0, seed: x, m: 1}}", text)
    text = edited("[0, 1]", "[]", text)
    text = edited("{cells: 8, channels: 16}", "{cells: 1, channels: 3, depth: 4}", text)
    text = edited("accuracy_by_index", "{kind: contours, colour: red, indices: [0, 0]}", text)
    (folder / "x.yaml").write_text(edited("claim: A claim.\n", "", text))
    blamed = [line.split(": ")[:2] for line in refused().splitlines() if not line.startswith(" ")]
    assert blamed == [
        ["x.yaml:1", "claim is missing"],
        ["x.yaml:3", "grid.genotype[0]"],
        ["x.yaml:3", "grid.genotype[1].zoo"],
        ["x.yaml:3", "grid.genotype[2].file"],
        ["x.yaml:4", "grid.variants.connections.n is 0"],
        ["x.yaml:4", "grid.variants.connections.seed is 'x', not a whole number"],
        ["x.yaml:4", "unknown key grid.variants.connections.m"],
        ["x.yaml:7", "grid.seed"],
        ["x.yaml:8", "network.cells is 1"],
        ["x.yaml:8", "network.channels is 3"],
        ["x.yaml:8", "unknown key network.depth"],
        ["x.yaml:11", "figures.accuracy.indices"],
        ["x.yaml:11", "unknown key figures.accuracy.colour"],
    ]


def test_an_edge_is_named_by_cell_node_and_edge(folder):
    mine = f"    - name: mine\n      {CELL.replace(', normal', chr(10) + '      normal')}\n"
    mine += "      reduce: [[conv, 0], [skip_connect, 1]]\n      reduce_concat: [2]"
    (folder / "x.yaml").write_text(edited(" [DARTS, SNAS]", f"\n    - DARTS\n{mine}"))
    reported = refused()
    assert reported.startswith("x.yaml:9: grid.genotype[1].reduce: reduce cell, node 2, edge 0")
    assert "'conv'" in reported and "skip_connect, sep_conv_3x3," in reported
