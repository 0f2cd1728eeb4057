import pytest
from experiment_files import edited, refused


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("title: A title\n", "", "x.yaml:1: title is missing\n  add title: what is measured"),
        ("claim: A claim.", "claim: 5", "x.yaml:2: claim is 5, not text"),
        ("claim: A claim.", "claim: ''", "x.yaml:2: claim: '' is no readable text"),
        ("claim: A claim.", 'claim: "a \\e[2J b"', r"claim: 'a \x1b[2J b' is no readable text"),
        ("claim:", "clam:", "x.yaml:2: unknown key clam\n  did you mean claim? use one of title,"),
        ("  dataset:", "  data:", "x.yaml:6: unknown key grid.data\n  did you mean dataset?"),
        ("  dataset:", "  data:", "x.yaml:3: grid.dataset is missing\n  add dataset: datasets"),
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
        ("paper4", "paper13", "use paper4 or profile"),
        ("cifar100]", "cifar1000]", "x.yaml:6: grid.dataset[1]: unknown data set 'cifar1000'"),
        ("cifar100]", "cifar1000]", "did you mean cifar100"),
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
        ("cells: 8", "cells: '8'", "x.yaml:9: network.cells is '8', not a whole number"),
        ("cells: 8", "cell: 8", "x.yaml:9: unknown key network.cell\n  did you mean cells?"),
        ("channels: 16", "channels: 7", "x.yaml:9: network.channels is 7\n  use an even number"),
        ("{cells: 8, channels: 16}", "20", "x.yaml:9: network is 20, not keys and values"),
        ("{cells: 8, channels: 16}", "", "x.yaml:9: network is null, not keys and values"),
        ("epochs: 30", "epochs: two", "x.yaml:10: recipe.epochs is 'two', not a whole number"),
        ("epochs: 30", "epochs: 0", "x.yaml:10: recipe.epochs is 0\n  use a whole number from 1"),
        ("epochs: 30", "epochs: 30.0", "x.yaml:10: recipe.epochs is 30.0"),
        ("epochs: 30", "version: 1", "x.yaml:10: unknown key recipe.version\n  use one of epochs"),
        ("weight_decay: 0", "momentum: 1", "x.yaml:10: recipe.momentum is 1\n  use a finite num"),
        ("precision: fp32", "precision: 16", "x.yaml:11: precision: unknown precision 16\n  did"),
        ("y_by_index}", "y}", "x.yaml:12: figures.accuracy: unknown kind of figure 'accuracy'"),
        ("{accuracy:", "{../up:", "x.yaml:12: figures.../up: '../up' cannot name a file"),
        ("{accuracy: accuracy_by_index}", "[]", "x.yaml:12: figures is [], not keys and values"),
        ("{accuracy:", "{name: x, profile: y, a:", "figures.name: unknown kind of figure 'x'"),
        ("title: A", "name: y\ntitle: A", "x.yaml:1: unknown key name"),
        ("title: A", "substitutes: {}\ntitle: A", "x.yaml:1: unknown key substitutes"),
        ("title: A", "title: B\ntitle: A", "x.yaml:2: title is given twice, first in line 1"),
        ("grid:", "grid: []\nnotgrid:", "x.yaml:3: grid is [], not keys and values"),
    ],
)
def test_a_bad_value_is_reported_with_its_line_and_a_fix(folder, old, new, message):
    (folder / "x.yaml").write_text(edited(old, new))
    assert message in refused()


def test_all_problems_of_a_file_are_reported_at_once_in_their_order(folder):
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
