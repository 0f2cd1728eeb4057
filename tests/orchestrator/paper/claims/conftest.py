"""Findings about stores of made-up trials."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from synthetic_stores import Trial, synthetic_store

from orchestrator.paper.claims import CLAIMS, Finding
from orchestrator.paper.claims.claim import judge
from orchestrator.paper.claims.population import Population
from results_schema.results import Results


@pytest.fixture
def observe(tmp_path: Path) -> Callable[..., list[Finding]]:
    """Return a function that finds what claims say in a store of these trials and accuracies."""

    def call(claims: str, trials: list[Trial], accuracies: Any, **how: Any) -> list[Finding]:
        fill = how.pop("fill", None)
        store = synthetic_store(tmp_path / "store", trials, accuracies, **how)
        if fill:
            fill(store)
        population = Population(Results(store))
        known = {claim.id: claim for claim in CLAIMS}
        return judge([one for name in claims.split() for one in known[name].findings(population)])

    return call
