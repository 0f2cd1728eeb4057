"""A failing seed prints a command, and the command runs this seed again."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Fails for one seed of a few, by what that seed draws.
CASE = """
import random
import pytest

@pytest.mark.seeds(quick=2, long=5)
@pytest.mark.parametrize("part", ["a", "b"])
def test_a_case(part, fault_seed, tally):
    tally["draws"] += 1
    drawn = random.Random(fault_seed).randrange(10**9)
    assert fault_seed != 3 or part == "a", f"drew {drawn}"
"""


def run(folder: Path, *arguments: str) -> str:
    """What pytest says in a folder with the house's seeds."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *arguments],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT / "tests/support"), "PATH": ""},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """The folder of a case of its own."""
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["fault_seeds"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = long: takes minutes\n")
    (tmp_path / "test_cases.py").write_text(CASE)
    return tmp_path


@pytest.mark.parametrize("processes", [0, 2])
def test_what_was_done_is_counted_over_all_processes(cases: Path, processes: int):
    assert re.search(
        r"= faults =+\n +4 draws\n", run(cases, "-m", "not long", "-n", str(processes))
    )


def test_a_failing_seed_prints_the_command_that_runs_it_again(cases: Path):
    assert "4 passed, 10 deselected" in run(cases, "-m", "not long")
    first = run(cases, "-m", "long")
    assert "1 failed, 9 passed, 4 deselected" in first
    [drawn] = set(re.findall(r"AssertionError: drew \d+", first))
    [command] = set(re.findall(r"uv run pytest .*", first))
    assert command == "uv run pytest -m long test_cases.py::test_a_case --fault-seed 3"
    again = run(cases, *shlex.split(command)[3:])
    assert "1 failed, 1 passed" in again
    assert drawn in again
    assert command in again
