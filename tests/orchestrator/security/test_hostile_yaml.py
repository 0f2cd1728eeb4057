"""Hostile experiments: none runs anything, and each is refused in a line or two.

Some would take minutes where nothing bounds the work: the limit of a test shows it.
"""

import os
from pathlib import Path

import pytest
from experiment_files import GOOD
from hostile_yaml import PLANTED, hostile

from orchestrator.config.experiment import load_experiment
from results_schema.errors import NasSweepError

QUICK, ALL = 12, 240


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where an attack would leave its mark; with a pipe into which nobody writes."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "pipe.json")
    return tmp_path


def refusal(text: str) -> str:
    """What is said of an experiment that is refused; empty of a sound one."""
    Path("x.yaml").write_text(text)
    try:
        assert len(load_experiment("x.yaml").members()) <= 100_000
    except NasSweepError as error:
        return str(error)
    return ""


def check(folder: Path, seeds: range) -> None:
    before = sorted(folder.parent.iterdir())
    refused = 0
    for seed in seeds:
        said = refusal(hostile(seed))
        assert len(said) < 5000, f"seed {seed}: {len(said)} characters were said of it"
        assert "x.yaml" in said or not said, f"seed {seed}: it is not reported where: {said}"
        assert said.isprintable() or "\n" in said
        refused += bool(said)
    assert sorted(path.name for path in folder.iterdir()) == ["pipe.json", "x.yaml"], (
        f"{PLANTED} was made"
    )
    assert sorted(folder.parent.iterdir()) == before
    # A few come out sound, such as a name that is odd and harmless.
    assert refused >= len(seeds) * 0.8


def test_some_hostile_experiments(folder: Path):
    check(folder, range(QUICK))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_hostile_experiments(folder: Path):
    check(folder, range(QUICK, QUICK + ALL))


def test_a_search_in_vain_ends(folder: Path):
    # Of the 2,699 cells some are too rare to come up.
    vain = GOOD.replace("[DARTS, SNAS]", "[DARTS]").replace(
        "paper4", "{connections: {mode: uniform, n: 2699}}"
    )
    assert "none of 50000 seeds has a further cell for it" in refusal(vain)


@pytest.mark.parametrize("wrong", ["/etc/passwd", "/dev/zero", "/dev/stdin", "pipe.json"])
def test_no_such_file_is_an_experiment(folder: Path, wrong: str):
    with pytest.raises(NasSweepError):
        load_experiment(wrong)
