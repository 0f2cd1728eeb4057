"""Seeded cases: so many in the default suite, so many in the long one, each replayed by a command.

A test that takes `fault_seed` is marked `@pytest.mark.seeds(quick=2, long=20)`. When a case fails,
the report ends with the command that runs this one case again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from typing import Any

import pytest

TALLY = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fault-seed", type=int, metavar="N", help="run seeded cases with this seed alone"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "seeds(quick, long): how many seeds the default and the long suite run"
    )
    config.stash[TALLY] = Counter()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marker = metafunc.definition.get_closest_marker("seeds")
    if marker is None:
        return
    asked = metafunc.config.getoption("--fault-seed")
    quick, long = (range(marker.kwargs[name]) for name in ("quick", "long"))
    if asked is not None:
        quick, long = (), (asked,)
    metafunc.parametrize(
        "fault_seed",
        [
            *(pytest.param(seed, id=f"seed{seed}") for seed in quick),
            *(pytest.param(seed, id=f"seed{seed}-long", marks=pytest.mark.long) for seed in long),
        ],
    )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and isinstance(item, pytest.Function) and hasattr(item, "callspec"):
        seed = item.callspec.params.get("fault_seed")
        if isinstance(seed, int):
            report.sections.append(("to run this case again", replay(item, seed)))
    return report


def replay(item: pytest.Function, seed: int) -> str:
    """The command that runs one seed of a test."""
    path = item.path.relative_to(item.config.rootpath).as_posix()
    return f"uv run pytest -m long {path}::{item.originalname} --fault-seed {seed}"


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Counter[str]:
    """Counts what was really done to the store; printed when all tests are over."""
    return request.config.stash[TALLY]


def pytest_sessionfinish(session: pytest.Session) -> None:
    told: Any = getattr(session.config, "workeroutput", None)
    if told is not None:  # this is one of several processes
        told["faults"] = dict(session.config.stash[TALLY])


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
