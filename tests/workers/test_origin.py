"""Where code is from: a checkout, an installed package, or a launch that sent it."""

import json
import subprocess
from pathlib import Path

import pytest

from workers import origin


def git(folder: Path, *words: str) -> str:
    ran = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with this module's file in its place."""
    root = tmp_path / "source"
    (root / "workers").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(origin, "_ROOT", root)
    monkeypatch.setattr(origin, "checkout", origin.checkout.__wrapped__)  # without its cache
    return root


def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(source: Path):
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    commit = git(source, "rev-parse", "HEAD")
    (source / "results").mkdir()
    (source / "results" / "untracked").write_text("")
    assert origin.checkout() == (commit, False)
    (source / "pyproject.toml").write_text("changed")
    assert origin.checkout() == (commit, True)
    # Without the project's file, the commit is that of a repository around an installed package.
    (source / "pyproject.toml").unlink()
    assert origin.checkout() == (None, None)


def test_without_a_repository_or_git_the_commit_is_unknown(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    assert origin.checkout() == (None, None)
    monkeypatch.setenv("PATH", "")
    assert origin.checkout() == (None, None)


def test_code_that_was_sent_tells_where_it_came_from(source: Path):
    told = {"release": "7.0", "commit": "1234", "dirty": True}
    (source / origin.SHIPPED).write_text(json.dumps(told))
    assert origin.code_origin() == told
