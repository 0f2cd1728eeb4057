"""Looks whether this machine can do what a launch needs, a line for each check."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

from orchestrator.execution import checks
from orchestrator.execution.checks import Check
from orchestrator.execution.store_checks import check_place
from workers.data.catalog import DATASETS

UNFIT = 3
"""Exit code."""


def examine(location: str, *, as_json: bool) -> int:
    """Prints a line per check.

    Args:
        location: The store's folder, which need not be there yet.
        as_json: Whether to print one JSON array.

    Returns:
        The exit code: 0 if all that everyone needs is there, else 3.
    """
    verdicts: list[str] = []
    found = run_checks(location)
    if as_json:
        every = list(found)
        verdicts = [check.verdict for check in every]
        print(json.dumps([asdict(check) for check in every], indent=1))
    else:
        for check in found:
            verdicts.append(check.verdict)
            fix = f"; {check.fix}" if check.fix else ""
            line = f"{check.verdict:4}  {check.name}: {check.found}{fix}"
            print(" ".join(line.splitlines()), flush=True)
    return UNFIT if "bad" in verdicts else 0


def run_checks(store: str) -> Iterator[Check]:
    """All checks, the quick ones first."""
    yield checks.check_python()
    yield checks.check_packages()
    yield checks.check_memory()
    yield checks.check_clock()
    yield check_place(store)
    yield checks.check_browser()
    yield checks.check_ray()
    yield checks.check_ray_folder()
    yield checks.check_gpu()
    with ThreadPoolExecutor() as pool:  # an offer over the network takes its time
        yield from pool.map(checks.check_data, DATASETS)
