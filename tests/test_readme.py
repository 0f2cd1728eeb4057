"""The commands of README and documents and the tree of CONTRIBUTING exist."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli import main as cli

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
PAGES = [TEXT, *((ROOT / "docs" / name).read_text() for name in ("commands.md", "paper.md"))]
COMMANDS = [
    line.split("#")[0].strip().strip("`")
    for page in PAGES
    for line in re.findall(r"(?:^    |`)(nas-sweep [a-z][^`\n|>…]*)", page, re.MULTILINE)
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_exists(command):
    _, name, *arguments = shlex.split(command)
    known = cli.cli.commands[name]
    options = {text for option in known.params for text in option.opts}
    assert {a for a in arguments if a.startswith("--")} <= options
    for path in arguments:
        if path.startswith("experiments/"):
            assert list(ROOT.glob(path.rstrip("/")))


def test_every_package_of_the_tree_exists():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = text.split("## Where things go")[1].split("##")[0]
    folders = re.findall(r"^    (\w+)/ ", tree, re.MULTILINE)
    assert {"workers", "orchestrator"} < set(folders)
    assert all((ROOT / folder).is_dir() for folder in folders)
    paths = re.findall(r"`(workers/[\w/]+\.py)`", text)
    assert paths and all((ROOT / path).exists() for path in paths)
