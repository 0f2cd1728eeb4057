"""The files of docker/ as data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def docker() -> Path:
    """The folder."""
    return ROOT / "docker"


@pytest.fixture(scope="session")
def compose(docker: Path) -> dict[str, Any]:
    """`compose.yaml`, its anchors and merges unfolded."""
    return YAML(typ="safe", pure=True).load(docker / "compose.yaml")
