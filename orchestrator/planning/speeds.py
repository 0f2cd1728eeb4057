"""How long work will take: the guess of `estimate`, times how far off it was in a store."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.output.words import span
from orchestrator.planning.estimate import seconds, surface_seconds
from results_schema import layout, tables
from results_schema.errors import NasSweepError, SpecError
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from results_schema.tables import SURFACES
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

    def basis(self, work: Sequence[TrialSpec | SurfaceSpec], device: str) -> str:
        """What an estimate of some work on a device rests on, in words."""
        counts = [len(self.ratios.get((kind, device), ())) for kind in {*map(_kind, work)}]
        return f"from {sum(counts)} measured" if counts and all(counts) else "rough"


GUESSED = Speeds()
"""Nothing was measured."""


def measured(store: Store) -> Speeds:
    """The speeds of a store, from a sample of its ended trials and finished surfaces."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in _sample(store, layout.TRIALS, tables.TRIALS):
        _add(ratios, row, TrialSpec, row["train_seconds"])
    for row in _sample(store, layout.SURFACES, SURFACES):
        _add(ratios, row, SurfaceSpec, row["measure_seconds"])
    return Speeds(ratios)


def duration(
    work: Sequence[TrialSpec | SurfaceSpec],
    device: str,
    side_by_side: int,
    speeds: Speeds = GUESSED,
) -> str:
    """How long all of it takes on a device, such as `about 1.9 years on 2 CPU cores`."""
    return in_words(total_seconds(work, device, speeds), device, side_by_side)


def in_words(total: float, device: str, side_by_side: int) -> str:
    """The same of work that takes so many seconds one after the other."""
    unit = "CPU core" if device == "cpu" else "GPU"
    plural = "s" if side_by_side > 1 else ""
    return f"about {span(total / side_by_side)} on {side_by_side} {unit}{plural}"


def total_seconds(
    work: Sequence[TrialSpec | SurfaceSpec], device: str, speeds: Speeds = GUESSED
) -> float:
    """Of all of it, one after the other, at the speeds of a store."""
    factors = {kind: speeds.factor(kind, device) for kind in {*map(_kind, work)}}
    return sum(_guess(one, device) * factors[_kind(one)] for one in work)


def _kind(one: TrialSpec | SurfaceSpec) -> str:
    return "trial" if isinstance(one, TrialSpec) else one.kind


def _guess(one: TrialSpec | SurfaceSpec, device: str) -> float:
    return seconds(one, device) if isinstance(one, TrialSpec) else surface_seconds(one, device)


def _add(
    ratios: dict[tuple[str, str], list[float]],
    row: dict[str, Any],
    kind: type[TrialSpec] | type[SurfaceSpec],
    took: float | None,
) -> None:
    device = "cuda" if row["gpu"] else "cpu"
    try:
        one = kind.from_json(row["spec"])
        guess = _guess(one, device)
    except SpecError:
        return  # of another release: of no use here
    if isinstance(one, TrialSpec):
        guess *= row["epochs"] / one.recipe.epochs
    if took and device == "cuda":
        # The guess is of a GPU to itself. Processes that share one take as much of its time as
        # their share; a pack takes its share once for all of its trials.
        took *= (row["gpu_share"] or 1.0) / (row.get("pack_size") or 1)
    if took and guess:
        ratios.setdefault((_kind(one), device), []).append(took / guess)


def _sample(store: Store, folder: str, schema: pa.Schema) -> list[dict[str, Any]]:
    """Rows that tell what they were computed on, evenly from all of a table."""
    keys = [key for key in store.list(folder) if layout.names([key])]
    rows = []
    for key in keys[:: -(-len(keys) // SAMPLE) or 1]:
        try:
            rows += tables.from_parquet(store.get(key), schema, key).to_pylist()
        except NasSweepError:
            continue  # removed or damaged: of no use here, and told elsewhere
    return [row for row in rows if row["gpu"] is not None]
