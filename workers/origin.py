"""Where the code that runs here is from: its release and its commit.

It loads no torch, so that a launch can ask too.
"""

from __future__ import annotations

import json
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

SHIPPED = "shipped.json"
"""File beside code that was sent to this machine: what `code_origin` returned where it is from."""

_ROOT = Path(__file__).parents[1]
"""Folder that holds the packages."""


def code_origin() -> dict[str, Any]:
    """Return this code's `release`, `commit`, and whether it is `dirty`, as columns of a row."""
    # Code that was sent along has no git beside it, so the launch's answer travels with it.
    shipped = _ROOT / SHIPPED
    if shipped.exists():
        return json.loads(shipped.read_bytes())
    commit, dirty = checkout()
    release = version("nas-sweep") or "source tree"
    return {"release": release, "commit": commit, "dirty": dirty}


@cache
def checkout() -> tuple[str | None, bool | None]:
    """Return the commit of this code and whether files differ from it; None where unknown."""
    # An installed package may lie within somebody else's repository, whose commit is not ours.
    if not (_ROOT / "pyproject.toml").exists():
        return None, None
    commit = _git("rev-parse", "HEAD")
    # Untracked files may be results or notes, which change nothing.
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else changes != ""


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(_ROOT), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def version(package: str) -> str | None:
    """Return the release of an installed package, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
