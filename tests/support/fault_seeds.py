"""Seeded cases, so many in the default suite and so many in the long one; counts of what was done.

A test that takes `fault_seed` is marked `@pytest.mark.seeds(quick=2, long=20)`.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

TALLY = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "seeds(quick, long): how many seeds the default and the long suite run"
    )
    config.stash[TALLY] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if marker := metafunc.definition.get_closest_marker("seeds"):
        quick, long = (range(marker.kwargs[name]) for name in ("quick", "long"))
        seeds = [pytest.param(seed, id=f"seed{seed}") for seed in quick]
        seeds += [
            pytest.param(seed, id=f"seed{seed}-long", marks=pytest.mark.long) for seed in long
        ]
        metafunc.parametrize("fault_seed", seeds)


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """Counts what was really done to the store; printed when all tests are over."""
    return request.config.stash[TALLY]


def pytest_sessionfinish(session: pytest.Session) -> None:
    output: Any = getattr(session.config, "workeroutput", None)
    if output is not None:  # this is one of several processes
        output["faults"] = dict(session.config.stash[TALLY])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    node.config.stash[TALLY].update(getattr(node, "workeroutput", {}).get("faults", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if counted := config.stash[TALLY]:
        terminalreporter.section("faults")
        for name in sorted(counted):
            terminalreporter.line(f"{counted[name]:>8} {name}")
