"""How `pytest -n 2` divides the tests: file by file, those that may take longest first.

A file stays in one process, as what its tests share is made once. Without the order one process
would end with a file of whole sweeps while the other has nothing left to do.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By the longest time that a test of the file may take, of those that are not deselected."""
    longest: dict[Path, float] = defaultdict(float)
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            longest[item.path] = max(longest[item.path], float(marker.args[0]))
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    # Else those with most tests come first, which are over in no time.
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)
