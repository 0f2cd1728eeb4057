"""The README's snippets, commands and tree say what is so."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
from sweeps import undisturbed, write_experiment

from orchestrator import cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
COMMANDS = [
    line.split("#")[0].strip().strip("`")
    for line in re.findall(r"(?:^    |`)(nas-sweep [^`\n|>]*)", TEXT, re.MULTILINE)
]


def test_the_queries_run_on_a_real_store(tmp_path, monkeypatch):
    experiment = write_experiment(tmp_path, epochs=1, name="fig9", variants="paper4", seeds="0")
    undisturbed(experiment, tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    (snippet,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "queries.py").write_text(snippet)
    names = runpy.run_path("queries.py")
    trials, gain = names["trials"], names["gain"]
    assert len(trials) == 5
    assert gain[trials["index"] == 0].eq(0).all()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_exists(command):
    _, name, *arguments = shlex.split(command)
    known = cli.cli.commands[name]
    options = {text for option in known.params for text in option.opts}
    assert {a for a in arguments if a.startswith("--")} <= options
    for path in arguments:
        if path.startswith("experiments/"):
            assert list(ROOT.glob(path.rstrip("/")))


def test_every_room_of_the_tree_exists():
    tree = TEXT.split("## The tree")[1].split("##")[0]
    for room in re.findall(r"^    (\w+)/ ", tree, re.MULTILINE):
        assert (ROOT / room).is_dir()
    for path in re.findall(r"`([\w/]+\.py)`", TEXT):
        assert (ROOT / path).exists()
