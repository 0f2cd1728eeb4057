"""Plug-ins that an experiment names: loaded before anything is validated, errors with a line."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from experiment_files import GOOD, refused

from orchestrator.config.experiment import load_experiment
from orchestrator.config.record import read_declared, record
from orchestrator.config.registry import read_choice
from orchestrator.figures import draw
from results_schema import plugins
from results_schema.errors import ConfigError
from results_schema.plugins import registry
from results_schema.store import open_store
from results_schema.trial import Recipe, extensions
from workers.cells.operations import check_name
from workers.data.readers import make_split
from workers.training.recipe import scheduled_lr

ENTERS = "import nas_sweep\nnas_sweep.operation('mix_conv', version=2)(int)\n"


pytestmark = pytest.mark.usefixtures("own_plugins")


@pytest.fixture
def names(folder: Path):
    """Writes the experiment with a list of plug-ins in its first line."""

    def write(listed: str) -> None:
        (folder / "x.yaml").write_text(f"plugins: {listed}\n{GOOD}")

    return write


def test_a_plugin_is_loaded_from_beside_the_file_that_names_it(folder, names, monkeypatch):
    before = [member.spec.trial_id for member in load_experiment("x.yaml").members()]
    names("[my_ops.py]")
    (folder / "my_ops.py").write_text(ENTERS)
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    experiment = load_experiment("../x.yaml")
    assert [one.path for one in experiment.loaded_plugins] == [folder / "my_ops.py"]
    assert plugins.registry("operation")["mix_conv"].extension == "operation:mix_conv@2"
    plugins.require(["operation:mix_conv@2"])
    # What no numbers depend on changes no id.
    assert [member.spec.trial_id for member in experiment.members()] == before


def test_plugins_of_options_and_profiles_start_where_they_are_written(folder):
    (folder / "my_ops.py").write_text(ENTERS)
    (folder / "profiles/more.py").write_text("")
    (folder / "profiles/more.yaml").write_text("description: More.\nset: {plugins: [more.py]}\n")
    loaded = load_experiment("x.yaml", profile="more").loaded_plugins
    assert [one.name for one in loaded] == ["more.py"]
    loaded = load_experiment("x.yaml", overrides=["plugins=[my_ops.py]"]).loaded_plugins
    assert [one.name for one in loaded] == ["my_ops.py"]


@pytest.mark.parametrize(
    ("listed", "content", "error"),
    [
        ("[gone.py]", "", "x.yaml:1: plugins: 'gone.py': there is no plug-in"),
        ("[gone]", "", "x.yaml:1: plugins: 'gone': no installed package offers a plug-in 'gone'"),
        ("[profiles]", "", "x.yaml:1: plugins: 'profiles': no installed package"),
        ("my_ops.py", "", "x.yaml:1: plugins is 'my_ops.py', not a list\n  write it in brackets"),
        ("[3]", "", "x.yaml:1: plugins[0] is 3, not text"),
        ("[my_ops.py]", "\nimport no_such_thing", "my_ops.py:2: the plug-in fails: ModuleNotFound"),
        ("[my_ops.py]", "def f(:", "my_ops.py:1: the plug-in fails: SyntaxError"),
        ("[my_ops.py]", "raise SystemExit(0)", "my_ops.py:1: the plug-in fails: SystemExit"),
        ("[my_ops.py]", "import nas_sweep\nnas_sweep.operation('a b')(int)", "my_ops.py:2: 'a b'"),
        (
            "[my_ops.py]",
            "import nas_sweep\n\n@nas_sweep.operation\ndef f(channels, stride, affine): ...",
            "my_ops.py:3: nas_sweep.operation decorates without a name\n"
            '  write @nas_sweep.operation("f", version=1)',
        ),
        (
            "[my_ops.py]",
            "import nas_sweep\nnas_sweep.figure('mine', table='metrics')(int)",
            "my_ops.py:2: the plug-in fails: TypeError: figure() got an unexpected keyword",
        ),
    ],
)
def test_a_plugin_that_fails_is_one_error_with_a_line(folder, names, run, listed, content, error):
    names(listed)
    (folder / "my_ops.py").write_text(content)
    shown = refused("x.yaml")
    assert error in shown
    code, _, printed = run("plan", "x.yaml")
    assert (code, printed) == (2, f"error: {shown}\n")


CELL = {"nodes": [[["mix_conv", 0], ["skip_connect", 1]]], "concat": [2]}
MIX_CONV = """
import nas_sweep
from torch import nn

@nas_sweep.operation("mix_conv", version=2)
def mix_conv(channels, stride, affine):
    conv = nn.Conv2d(channels, channels, 3, stride, 1, groups=2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(channels, affine=affine))
"""


def test_the_documented_plugins_load(folder, names):
    page = (Path(__file__).parents[3] / "docs/plugins.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    programs = [text for language, text in blocks if language == "python"]
    assert "mix_conv" in programs[0]
    for number, text in enumerate(programs):
        name = "my_ops.py" if number == 0 else f"other{number}.py"
        (folder / name).write_text(text)
        names(f"[{name}]")
        load_experiment("x.yaml")
    check_name("mix_conv")
    named = Recipe(optimizer="sign_descent", schedule="linear_decay", augmentation=("noise",))
    spec: Any = load_experiment("x.yaml").members()[0].spec
    found = ("augmentation:noise@1", "optimizer:sign_descent@1", "schedule:linear_decay@1")
    assert extensions(replace(spec, recipe=named)) == found
    assert [scheduled_lr(replace(named, epochs=4), 1.0, epoch) for epoch in (1, 3)] == [1.0, 0.5]
    entry = registry("dataset")["my_blobs"]
    assert (entry.version, entry.about["flip"]) == (1, True)
    assert make_split(entry.resolve()()).train_pixels.shape == (400, 1, 16, 16)
    choice = read_choice({"kind": "accuracy_by_time", "logarithmic": True, "bases": ["DARTS"]})
    rows = {"base": ["DARTS", "ENAS"], "train_seconds": [2.0, 3.0], "test_accuracy": [0.8, 0.9]}
    figure: Any = draw(choice, {"trials": pd.DataFrame(rows)}.__getitem__, "A title")
    assert (figure.layout.title.text, figure.layout.xaxis.type) == ("A title", "log")
    assert [list(trace.y) for trace in figure.data] == [[0.8]]


def test_a_figures_options_are_checked_by_its_annotations(folder):
    written = (
        (folder / "x.yaml").read_text().replace("accuracy_by_index", "{kind: mine, bins: 2.5}")
    )
    (folder / "x.yaml").write_text(written)
    code = "import nas_sweep\n@nas_sweep.figure('mine', version=1{})\ndef mine({}):\n    return 1\n"
    other = "the figure mine has other arguments"
    for number, (about, arguments, parts) in enumerate(
        [
            (
                "",
                "trials, *, bins: int = 3",
                ["figures.accuracy.bins is 2.5", "whole", "x.yaml:12"],
            ),
            ("", "trials, metrics", [other, "take trials", "my_figures1.py:2"]),
            ("", "trials, *, bins", [other, "default"]),
            (", tables='trails'", "trails, *, bins=3", ["'trails'", "trials"]),
        ]
    ):
        name = f"my_figures{number}.py"
        (folder / name).write_text(code.format(about, arguments))
        error = refused("x.yaml", overrides=[f"plugins=[{name}]"])
        assert all(part in error for part in parts), error
        registry("figure").withdraw(name)


def test_a_store_is_read_without_the_plugin_of_its_figure(folder, names):
    names("[my_figures.py]")
    code = (
        "import nas_sweep\n@nas_sweep.figure('mine')\ndef mine(trials, *, bins=3):\n    return 1\n"
    )
    (folder / "my_figures.py").write_text(code)
    written = (folder / "x.yaml").read_text().replace("accuracy_by_index", "{kind: mine, bins: 4}")
    (folder / "x.yaml").write_text(written)
    store = open_store(str(folder / "results"))
    record(load_experiment("x.yaml"), store)
    with pytest.raises(ConfigError, match="returns 1"):
        draw(read_declared(store, "x").figures["accuracy"], lambda name: pd.DataFrame(), "")
    registry("figure").withdraw("my_figures.py")
    figures = read_declared(store, "x").figures
    assert figures["accuracy"].to_json() == {"kind": "mine", "bins": 4}
    with pytest.raises(ConfigError, match="mine is a figure of a plug-in, which is not loaded"):
        draw(figures["accuracy"], lambda name: pd.DataFrame(), "")


def test_a_schedule_that_fails_is_one_line_of_the_plan(folder, names, run):
    (folder / "my_ops.py").write_text(
        "import nas_sweep\n@nas_sweep.schedule('broken')\ndef broken(lr, epoch, epochs):\n"
        "    return lr / (epochs - epoch)\n"
    )
    names("[my_ops.py]")
    code, _, printed = run("plan", "x.yaml", "--set", "recipe.schedule=broken")
    assert (code, printed.count("\n")) == (2, 2)
    assert "the schedule broken fails: ZeroDivisionError" in printed


def test_cells_are_named_and_drawn_with_a_plugins_operation(folder, names, run):
    names("[my_ops.py]")
    (folder / "my_ops.py").write_text(MIX_CONV)
    (folder / "mine.json").write_text(json.dumps({"normal": CELL, "reduce": CELL}))
    options = "{mode: uniform, n: 3, candidates: [mix_conv, skip_connect]}"
    overrides = [
        "grid.genotype=[{file: mine.json}, DARTS]",
        f"grid.variants={{operations: {options}}}",
        *("grid.dataset=[digits]", "grid.seed=[0]", "grid.learning_rate=[0.1]"),
    ]
    members: Any = load_experiment("x.yaml", overrides=overrides).members()
    used = {
        member.spec.trial_id: edge.op
        for member in members
        for edges in (*member.spec.genotype.normal.nodes, *member.spec.genotype.reduce.nodes)
        for edge in edges
        if edge.op == "mix_conv"
    }
    assert len(members) == 8
    for member in members:
        named = ("operation:mix_conv@2",) if member.spec.trial_id in used else ()
        assert member.spec.extensions == named
    assert len(used) > 4
    code, shown, _ = run(
        *("plan", "x.yaml", "--store", "none"), *(f"--set={one}" for one in overrides)
    )
    assert (code, "8" in shown) == (0, True)
    code, shown, _ = run("cells", "mine.json", "--plugin", "my_ops.py", "--format", "json")
    assert (code, json.loads(shown)[0]["parameters"] > 0) == (0, True)


@pytest.mark.parametrize(
    ("override", "error"),
    [
        ("grid.genotype=[{file: mine.json}]", "edge 0: operation mix_conv of my_ops.py, stride 2"),
        (
            "grid.variants={operations: {mode: uniform, candidates: [mix_conv]}}",
            "grid.variants.operations.candidates: operation mix_conv of my_ops.py, stride 2: it ma",
        ),
        (
            "grid.variants={operations: {mode: uniform, candidates: [mix_con]}}",
            "unknown operation 'mix_con'\n  did you mean mix_conv",
        ),
    ],
)
def test_an_operation_that_is_none_is_an_error_at_plan_time(folder, names, run, override, error):
    names("[my_ops.py]")
    (folder / "my_ops.py").write_text(MIX_CONV.replace("3, stride, 1", "3, 1, 1"))
    (folder / "mine.json").write_text(json.dumps({"normal": CELL, "reduce": CELL}))
    code, _, shown = run("plan", "x.yaml", f"--set={override}")
    assert (code, error in shown) == (2, True), shown
    assert "Traceback" not in shown


def test_the_command_lists_what_plugins_add(folder, names, run):
    names("[my_ops.py]")
    (folder / "my_ops.py").write_text(ENTERS)
    code, shown, _ = run("plugins", "x.yaml", "--format", "csv")
    digest = plugins.LOADED["my_ops.py"].digest
    assert code == 0
    assert shown.splitlines()[1:] == [
        f"mix_conv,operation,2,my_ops.py,{digest},{folder / 'my_ops.py'}"
    ]
