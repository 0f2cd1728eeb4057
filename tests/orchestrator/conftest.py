"""The command line called in this process; folders for tests that read an experiment's files."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from experiment_files import GOOD, PROFILE
from small_stores import Trained, trained_store

from orchestrator import cli


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
