"""How long work will take: the guess of `estimate`, times how far off it was in a store."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.estimate import seconds, surface_seconds
from orchestrator.words import span
from results_schema import layout, tables
from results_schema.errors import NasSweepError
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from results_schema.surface_tables import SURFACES
from results_schema.trial import TrialSpec

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = 40
"""Rows of a table that are looked at: opening all of 10,000 files takes a quarter of a minute."""


@dataclass(frozen=True)
class Speeds:
    """Measured time over guessed time.

    Attributes:
        ratios: By ("trial" or a kind of surface, "cuda" or "cpu"), one of each sampled row.
    """

    ratios: Mapping[tuple[str, str], list[float]] = field(default_factory=dict)

    def factor(self, kind: str, device: str) -> float:
        """What to multiply a guess by: the median ratio, or 1 where nothing was measured."""
        found = self.ratios.get((kind, device))
        return statistics.median(found) if found else 1.0

    def basis(self, device: str) -> str:
        """What an estimate for a device rests on, in words."""
        count = sum(len(found) for (_, on), found in self.ratios.items() if on == device)
        return f"from {count} measured" if count else "rough"


GUESSED = Speeds()
"""Nothing was measured."""


def measured(store: Store) -> Speeds:
    """The speeds of a store, from a sample of its ended trials and finished surfaces."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in _sample(store, layout.TRIALS, tables.TRIALS):
        spec = TrialSpec.from_json(row["spec"])
        device = "cuda" if row["gpu"] else "cpu"
        guess = seconds(spec, device) * row["epochs"] / spec.recipe.epochs
        if row["train_seconds"] and guess:
            ratios.setdefault(("trial", device), []).append(row["train_seconds"] / guess)
    for row in _sample(store, layout.SURFACES, SURFACES):
        surface = SurfaceSpec.from_json(row["spec"])
        device = "cuda" if row["gpu"] else "cpu"
        guess = surface_seconds(surface, device)
        if row["measure_seconds"] and guess:
            took = row["measure_seconds"] / guess
            ratios.setdefault((surface.kind, device), []).append(took)
    return Speeds(ratios)


def duration(
    work: Sequence[TrialSpec | SurfaceSpec],
    device: str,
    side_by_side: int,
    speeds: Speeds = GUESSED,
) -> str:
    """How long all of it takes on a device, such as `about 1.9 years on 2 CPU cores`."""
    total = total_seconds(work, device, speeds) / side_by_side
    unit = "CPU core" if device == "cpu" else "GPU"
    return f"about {span(total)} on {side_by_side} {unit}{'s' if side_by_side > 1 else ''}"


def total_seconds(
    work: Sequence[TrialSpec | SurfaceSpec], device: str, speeds: Speeds = GUESSED
) -> float:
    """Of all of it, one after the other, at the speeds of a store."""
    return sum(
        seconds(one, device) * speeds.factor("trial", device)
        if isinstance(one, TrialSpec)
        else surface_seconds(one, device) * speeds.factor(one.kind, device)
        for one in work
    )


def _sample(store: Store, folder: str, schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows that tell what they were computed on, evenly from all of a table."""
    keys = [key for key in store.list(folder) if layout.names([key])]
    rows = []
    for key in keys[:: max(1, len(keys) // SAMPLE)]:
        try:
            rows += tables.from_parquet(store.get(key), schema, key).to_pylist()
        except NasSweepError:
            continue  # removed or damaged: of no use here, and told elsewhere
    return [row for row in rows if row["gpu"] is not None]
