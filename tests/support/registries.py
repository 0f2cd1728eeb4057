"""Registries as they were before a test that loads plug-ins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from results_schema import plugins


@pytest.fixture
def own_plugins() -> Iterator[None]:
    """No plug-in is loaded, and none stays so."""
    before = {kind: dict(one) for kind, one in plugins.REGISTRIES.items()}
    loaded = dict(plugins.LOADED)
    plugins.LOADED.clear()
    yield
    for kind, one in plugins.REGISTRIES.items():
        one.clear()
        one.update(before.get(kind, {}))
    plugins.LOADED.clear()
    plugins.LOADED.update(loaded)
