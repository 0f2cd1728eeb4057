"""Folders for tests that read an experiment's files; each is the working folder of its test."""

from collections.abc import Callable
from pathlib import Path

import pytest
from experiment_files import GOOD, PROFILE


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
