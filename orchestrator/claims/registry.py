"""All claims, in the paper's order, and what a store says about them."""

from __future__ import annotations

import difflib
from collections.abc import Sequence

from orchestrator.claims import (
    adapted,
    approach,
    base_leads,
    exceptions,
    faster,
    generalisation,
    landscape,
    norms,
    operations,
    popular_cells,
    rates,
    sizes,
    stabler,
)
from orchestrator.claims.claim import Claim
from orchestrator.claims.finding import Finding, settle
from orchestrator.claims.population import Population
from results_schema.errors import ConfigError
from results_schema.results import Results

CLAIMS: tuple[Claim, ...] = (
    *popular_cells.CLAIMS,
    *faster.CLAIMS,
    *stabler.CLAIMS,
    *approach.CLAIMS,
    *base_leads.CLAIMS,
    *rates.CLAIMS,
    *operations.CLAIMS,
    *landscape.CLAIMS,
    *generalisation.CLAIMS,
    *adapted.CLAIMS,
    *sizes.CLAIMS,
    *norms.CLAIMS,
    *exceptions.CLAIMS,
)


def findings(results: Results, experiments: Sequence[str] | None = None) -> list[Finding]:
    """Every claim tested on a store.

    Args:
        results: The store.
        experiments: Names of experiments in it; None for all.

    Returns:
        One finding or more for each claim, in the order of `CLAIMS`; the same each time.

    Raises:
        ConfigError: The store lacks an experiment.
        CorruptData: A table is damaged.
    """
    population = Population(results, experiments)
    return settle([one for claim in CLAIMS for one in claim.findings(population)])


def find_claim(name: str) -> Claim:
    """The claim of an id.

    Raises:
        ConfigError: No claim has it.
    """
    known = {claim.id: claim for claim in CLAIMS}
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        raise ConfigError(
            f"there is no claim {name!r}",
            fix=f"nearest: {', '.join(near)}" if near else "nas-sweep claims --list tells them",
        )
    return known[name]
