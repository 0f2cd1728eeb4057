"""The dashboard that comes with the project, as data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "docker/grafana"
FILE = FOLDER / "dashboards/nas-sweep.json"

GPU_ONLY = {"GPU", "GPU memory"}
"""Titles of the panels that machines without a GPU leave empty."""

CHOSEN = {"$launch": ".+", "$experiments": ".+", "$__rate_interval": "20s", "$__range": "15m"}
"""What Grafana puts in the place of each of its variables."""


def dashboard() -> dict[str, Any]:
    """The whole file."""
    return json.loads(FILE.read_text())


def panels() -> list[dict[str, Any]]:
    """Its panels but for the headings of rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def expressions() -> list[tuple[str, str]]:
    """Each panel's title and each of its expressions, of all launches."""
    found = []
    for panel in panels():
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in CHOSEN.items():
                expression = expression.replace(name, value)
            assert "$" not in expression, expression
            found.append((panel["title"], expression))
    return found
