"""Where and with what a trial was trained: what explains its rounding, but is not its identity."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, MissingKey
from results_schema.lease import Lease
from results_schema.store import Store
from workers.training import device as devices

SHIPPED = "shipped.json"
"""Beside code that was sent to this machine: what `origin` told where it came from."""


def gather(device: torch.device) -> dict[str, Any]:
    """The provenance columns of `tables.TRIALS` that do not change while a process lives."""
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {
        "host": socket.gethostname(),
        "device": devices.name(device),
        "gpu": device.type == "cuda",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        # Asked of the interpreter: this package runs without Ray, and never imports it.
        "ray": _version("ray") if "ray" in sys.modules else None,
        **origin(),
    }


_LARGEST = 10_000
"""Bytes beyond which a counter of attempts is not read."""


def count_attempt(store: Store, lease: Lease, trial_id: str, epochs: int) -> dict[str, Any]:
    """Which attempt at the trial this is, and when the first began, as columns of its row.

    How many epochs it is to train is noted beside, for `nas-sweep status`.
    """
    key = layout.attempts(trial_id)
    try:
        past = parse_json(store.get(key, most=_LARGEST))
        count, started = past["attempts"] + 1, datetime.fromisoformat(past["started_at"])
    except (MissingKey, CorruptData, ValueError, KeyError, TypeError):
        count, started = 1, datetime.now(UTC)
    noted = {"attempts": count, "started_at": started.isoformat(), "epochs": epochs}
    store.put(key, json.dumps(noted).encode(), lease=lease)
    return {"attempts": count, "started_at": started}


def origin() -> dict[str, Any]:
    """Of this code: its `release`, `commit`, and whether it is `dirty`, as columns of a row."""
    shipped = Path(__file__).parents[2] / SHIPPED
    if shipped.exists():
        return json.loads(shipped.read_bytes())
    commit, dirty = checkout()
    release = _version("nas-sweep") or "source tree"
    return {"release": release, "commit": commit, "dirty": dirty}


@cache
def checkout() -> tuple[str | None, bool | None]:
    """The commit that this code was run from and whether files differ from it, or Nones."""
    root = Path(__file__).parents[2]
    if not (root / "pyproject.toml").exists():
        return None, None
    commit = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain", "--untracked-files=no")
    return commit, None if changes is None else changes != ""


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
