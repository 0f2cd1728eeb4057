"""Nodes that run something else than the launch are told by their names, and what differs."""

import ast
import os
from pathlib import Path

import pytest

from orchestrator.execution import versions
from orchestrator.execution.shipping import pack_code

ROOT = Path(__file__).parents[3]


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """This code in another place."""
    pack_code(tmp_path)
    return tmp_path


def test_a_process_fits_itself():
    assert versions.refusal(versions.told()) == ""


def test_no_file_is_read_but_the_code_that_workers_run(copied: Path):
    before = versions.digest(copied)
    for place in ("orchestrator/other.py", "results/data.py", "workers/.hidden.py"):
        (copied / place).parent.mkdir(exist_ok=True)
        os.mkfifo(copied / place)  # to read it would wait for ever
    assert versions.digest(copied) == before


@pytest.mark.parametrize(
    ("name", "word"), [("python", "Python"), ("ray", "Ray"), ("torch", "torch")]
)
def test_what_differs_is_told_of_both_with_a_way_to_mend_it(name: str, word: str):
    here = versions.told()
    told = versions.refusal(here | {name: "0.1"})
    assert f"it has {word} {here[name]}, and this launch has {word} 0.1" in told
    assert told.startswith("node ")
    assert "\n  install the same on every node" in told
    assert "--ship-code" not in told, "which would not help"


def test_other_code_of_the_same_release_is_told_and_can_be_shipped():
    here = versions.here()
    told = versions.refusal(versions.told() | {"code": "5e" * 5, "commit": "1234567890"})
    assert here.ours in told
    assert f"nas-sweep {here.release} (commit 1234567890, code 5e5e5e5e5e)" in told
    assert "--ship-code" in told


def test_the_same_code_of_another_commit_or_release_fits():
    assert versions.refusal(versions.told() | {"commit": "1234567890", "release": "7.0"}) == ""


def test_code_is_the_same_wherever_it_lies(copied: Path):
    assert versions.digest(copied) == versions.here().code


@pytest.mark.parametrize("file", ["workers/draws.py", "orchestrator/execution/trainable.py"])
def test_a_change_of_what_workers_run_is_another_code(copied: Path, file: str):
    with (copied / file).open("a") as code:
        code.write("# another\n")
    assert versions.digest(copied) != versions.here().code


def test_a_change_of_what_is_drawn_is_not(copied: Path):
    with (copied / "orchestrator/report/write.py").open("a") as code:
        code.write("# another\n")
    assert versions.digest(copied) == versions.here().code


def test_the_bridge_is_all_that_a_worker_imports_of_the_orchestrator():
    found, waiting = set(), ["trainable"]
    while waiting:
        name = waiting.pop()
        found.add(name)
        source = (ROOT / "orchestrator/execution" / f"{name}.py").read_text()
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("orchestrator"):
                module = (node.module or "").removeprefix("orchestrator.execution").lstrip(".")
                waiting += {module} - found if module else {a.name for a in node.names} - found
    assert found == set(versions.BRIDGE)
