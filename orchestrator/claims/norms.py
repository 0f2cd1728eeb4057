"""Most spectral norms of trained weights exceed 1, as the reading of Theorem 4.3 supposes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import safetensors.numpy
from safetensors import SafetensorError

from orchestrator.claims.cells import shown_groups
from orchestrator.claims.claim import Claim
from orchestrator.claims.finding import Finding
from orchestrator.claims.population import Population
from orchestrator.claims.statistics.means import LARGE, flipped
from results_schema import layout
from results_schema.errors import MissingKey
from results_schema.store import Store

_MOST_CHECKPOINTS = 12
"""That are read: each has millions of weights."""

_MOMENTUM = "momentum."


def spectral_norms(tensors: dict[str, np.ndarray]) -> dict[str, float]:
    """The largest singular value of every matrix and kernel, a kernel as [out, in·height·width].

    Args:
        tensors: Of a checkpoint; momentum and one-dimensional parameters are left out.
    """
    found = {}
    for name, value in tensors.items():
        if (
            value.ndim < 2
            or name.startswith(_MOMENTUM)
            or not np.issubdtype(value.dtype, np.floating)
        ):
            continue
        matrix = value.reshape(len(value), -1).astype(np.float64)
        gram = matrix @ matrix.T if len(matrix) <= matrix.shape[1] else matrix.T @ matrix
        finite = np.isfinite(gram).all()
        top = float(np.linalg.eigvalsh(gram)[-1]) if finite else np.nan
        found[name] = float(np.sqrt(max(top, 0.0))) if finite else np.nan
    return found


def _norms(claim: Claim, population: Population) -> list[Finding]:
    trials: Any = population.at_rate()
    if trials.empty:
        return []
    store = population.results.store
    done = trials[trials["status"] == "done"].drop_duplicates(["base", "variant"])
    shares, medians, used = [], [], []
    for trial_id in _spread(done["trial_id"].tolist()):
        norms = np.array(list(_read(store, trial_id).values()))
        norms = norms[~np.isnan(norms)]
        if len(norms):
            shares.append(float((norms > 1).mean()))
            medians.append(float(np.median(norms)))
            used.append(trial_id)
    if not shares:
        return []
    found = flipped(np.array(shares) - 0.5)
    return [
        claim.finding(
            "largest singular value of each weight of the last checkpoint",
            "signs flipped of each cell's share less one half",
            "mean share above 1",
            found.on_scale(lambda less: min(max(0.5 + less, 0.0), 1.0)),
            power_at=f"a mean of {LARGE:g} standard deviation",
            cells=len(used),
            trials=len(used),
            groups=shown_groups(done[done["trial_id"].isin(used)]),
            reading=f"median norm {np.median(medians):.2f}; batch normalisation rescales weights",
        )
    ]


def _spread(names: list[str]) -> list[str]:
    """At most so many, evenly out of all."""
    if len(names) <= _MOST_CHECKPOINTS:
        return names
    places = np.linspace(0, len(names) - 1, _MOST_CHECKPOINTS).round().astype(int)
    return [names[place] for place in places]


def _read(store: Store, trial_id: str) -> dict[str, float]:
    """Of the newest checkpoint that is whole; none if there is none."""
    found = re.findall(
        r"epoch-(\d+)/state\.json", "\n".join(store.list(layout.checkpoints(trial_id)))
    )
    for epoch in sorted(map(int, found), reverse=True):
        try:
            return spectral_norms(
                safetensors.numpy.load(store.get(layout.tensors(trial_id, epoch)))
            )
        except (MissingKey, SafetensorError, ValueError):
            continue
    return {}


CLAIMS = (
    Claim(
        "norms-above-one",
        "Most spectral norms of trained weights exceed 1.",
        "Section 4.3, Theorem 4.3, where it is supposed",
        "share of each cell's weights whose largest singular value exceeds 1, against one half",
        "checkpoints of trained cells (any experiment; gc --checkpoints keeps the last)",
        "theory",
        _norms,
    ),
)
