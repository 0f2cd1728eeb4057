"""All claims in the order of the paper, and their tests on a store."""

from __future__ import annotations

from collections.abc import Sequence

from threadpoolctl import threadpool_limits

from orchestrator.output.error_log import log_error
from orchestrator.paper.claims import accuracy, landscape, norms, topology, training
from orchestrator.paper.claims.claim import Claim, Finding, judge
from orchestrator.paper.claims.population import Population
from orchestrator.paper.claims.stated import stated_claims
from results_schema import layout
from results_schema.errors import NasSweepError
from results_schema.results import Results

CLAIMS: tuple[Claim, ...] = (
    *topology.POPULAR_CLAIMS,
    *training.CLAIMS,
    *landscape.CLAIMS,
    *accuracy.CLAIMS,
    *topology.SIZE_CLAIMS,
    *norms.CLAIMS,
    *landscape.EARLY_CLAIMS,
)


def findings(results: Results, experiments: Sequence[str] | None = None) -> list[Finding]:
    """Return the claims of the paper, and of experiments, tested on a store.

    Args:
        results: The store.
        experiments: Names of experiments in it; None for all.

    Returns:
        One finding or more for each claim, in the order of `CLAIMS`, then of those that experiments
        state; the same each time. A claim whose test ends in an unexpected error has one with that
        error, and the others are tested. None where all experiments run programs, as every claim is
        about cells.

    Raises:
        ConfigError: The store lacks an experiment.
        CorruptData: A table is damaged.
    """
    population = Population(results, experiments)
    names = results.experiments()
    if experiments is not None:
        names = [one for name in experiments for one in layout.variations(name, names)]
    unread = _unread(population)
    if not unread and population.without_cells:
        return []
    # Matrices here are small: several threads would spend their time in waiting for each other, and
    # their number would show in the last digits.
    with threadpool_limits(1, user_api="blas"):
        found = [one for claim in CLAIMS for one in _test(claim, population, unread)]
        for name in names:
            own = population if names == [name] else Population(results, [name])
            stated = stated_claims(results.store, name)
            found += [one for claim in stated for one in _test(claim, own, unread)]
    return judge(found)


def _unread(population: Population) -> str:
    """Return which unexpected error keeps the trials from being had; empty if none does.

    Asked once, so that not every claim reads the store again to fail in the same way.
    """
    try:
        _ = population.trials
    except NasSweepError:
        raise
    except Exception as error:
        return log_error(population.results.store, "claims", error)
    return ""


def _test(claim: Claim, population: Population, unread: str) -> list[Finding]:
    if claim.datasets and unread:
        return [claim.failed(unread)]
    # A trial alone can be compared with nothing; only the norms of its weights can be had.
    if claim.datasets and claim not in norms.CLAIMS and len(population.trials) < 2:
        return [claim.no_data()]
    try:
        return claim.findings(population)
    except NasSweepError:
        raise
    except Exception as error:
        return [claim.failed(log_error(population.results.store, f"claim-{claim.id}", error))]
