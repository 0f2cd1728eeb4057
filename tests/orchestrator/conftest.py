"""The command line called in this process, experiment files, members of experiments, stores."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from experiment_files import GOOD, PROFILE
from ray_heads import TOKEN, OnHead, small_head
from small_contours import Surveyed
from small_stores import Trained, trained_store
from small_theory import studied_store
from sweeps import Pace

from orchestrator.cli import main as cli
from results_schema.store import LocalStore

Join = Callable[..., pd.DataFrame]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What commands keep for the user goes to a folder of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command in this process; returns exit code, output and errors."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nas-sweep", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "200")
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out, shown.err

    return call


@pytest.fixture(scope="session")
def _trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained_store(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def trained(_trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A copy of a store with an experiment of three trials that have ended."""
    monkeypatch.chdir(tmp_path)
    return _trained.copied(tmp_path)


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a file and gives the name it has in error messages."""
    monkeypatch.chdir(tmp_path)

    def write(content: str | bytes, name: str = "x.yaml") -> str:
        raw = content.encode() if isinstance(content, str) else content
        (tmp_path / name).write_bytes(raw)
        return name

    return write


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Holds an experiment, x.yaml, and a profile for it, small."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "profiles").mkdir()
    (tmp_path / "x.yaml").write_text(GOOD)
    (tmp_path / "profiles/small.yaml").write_text(PROFILE)
    return tmp_path


@pytest.fixture
def join() -> Join:
    """Joins members with results: trial id to (status, accuracy), none without a result."""

    def build(members: Iterable[dict[str, Any]], results: dict[str, Any]) -> pd.DataFrame:
        trials = [
            {
                "trial_id": trial_id,
                "status": result[0],
                "test_accuracy": result[1],
                "parameters": 3_300_000,
                "epochs": 600,
            }
            for trial_id, result in results.items()
        ]
        columns = ["trial_id", "status", "test_accuracy", "parameters", "epochs"]
        right = pd.DataFrame(trials, columns=columns)
        return pd.DataFrame(members).merge(right, on="trial_id", how="left")

    return build


def member(base: str, index: int, **other: Any) -> dict[str, Any]:
    """A row of `members`; its trial id says all that tells it apart."""
    row = {
        "experiment": "fig9",
        "profile": None,
        "base": base,
        "variant": base if index == 0 else f"{base}-conn-{index}",
        "index": index,
        "named_dataset": "cifar10",
        "dataset": "cifar10",
        "learning_rate": 0.025,
        "seed": 0,
        "width": 3.5,
        "depth": 3,
        "width_all_nodes": 3.5,
        "depth_all_nodes": 3,
        **other,
    }
    told = (row["dataset"], base, index, f"{row['learning_rate']:g}", row["seed"])
    return {**row, "trial_id": "-".join(map(str, told)), **other}


@pytest.fixture
def make_member() -> Callable[..., dict[str, Any]]:
    return member


@pytest.fixture
def surveyed(tmp_path: Path) -> Surveyed:
    """An experiment to which members with contours are added."""
    return Surveyed(tmp_path / "surveyed")


@pytest.fixture(scope="session")
def on_head(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OnHead]:
    """Launches on one head, which all tests of a process share."""
    folder = tmp_path_factory.mktemp("head")
    pace = Pace(folder)
    own = pace.environment | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}
    with small_head(folder, **own) as head:
        yield OnHead(head, pace)


@pytest.fixture(scope="session")
def studied(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    folder: Path = tmp_path_factory.mktemp("studied")
    return studied_store(folder)
