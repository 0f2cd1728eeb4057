"""How long work takes: a rough guess, times how far off guesses were in a store.

On a CPU the arithmetic counts, and a core does it faster the more channels there are. On a GPU a
network of this kind is bound by kernel launches: a step takes a time per cell, whatever its size.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.output.text import duration
from orchestrator.planning.plan import Work
from results_schema import layout
from results_schema.errors import NasSweepError, SpecError
from results_schema.program import ProgramSpec, read_trial
from results_schema.store import Store
from results_schema.surface import SurfaceSpec
from results_schema.trial import TrialSpec
from workers.cells.cost import count_on
from workers.data.catalog import describe

BACKWARD = 2
"""Multiply-adds of a backward pass, in forward passes."""
CORE_SPEED = 2.5e10
"""Multiply-adds a second that a core approaches with many channels; measured, like the next."""
HALF_SPEED_CHANNELS = 30
"""Channels at which a core does half as many."""
PASSES = {"contour": 1, "gradient_variance": 1 + BACKWARD, "curvature": 100 * 2 * (1 + BACKWARD)}
"""Forward passes, or as much work, per point of a surface; curvature takes 100 products."""
EVALUATION_BATCH = 500
GPU_CELL_SECONDS = 1.6e-3
"""Seconds of a training step per cell: 20 s an epoch of the paper's network; predicted."""
OVERHEAD = 15.0
"""Seconds in which Ray and its workers start, and in which figures and the report are drawn."""
SAMPLE = 40
"""Rows of a table that are read: opening all of 10,000 files takes a quarter of a minute."""


def multiply_adds(spec: TrialSpec) -> int:
    """Return those of a trial: forward and backward on training images, forward on all others."""
    data = describe(spec.dataset)
    held = data.held_out(spec.recipe.validation)
    images = (1 + BACKWARD) * (data.train - held) + held + data.test
    return spec.recipe.epochs * images * _forward(spec)


def seconds(work: Work, device: str) -> float:
    """Return a guess of how long a trial or surface takes that has a GPU, or a core, to itself."""
    if isinstance(work, SurfaceSpec):
        return _surface_seconds(work, device)
    if isinstance(work, ProgramSpec):
        return float(work.epochs or 1)  # a second an epoch, until one has ended
    if device == "cpu":
        return multiply_adds(work) / _core_speed(work)
    steps = math.ceil(describe(work.dataset).train / work.recipe.batch_size)
    return work.recipe.epochs * steps * work.network.cells * GPU_CELL_SECONDS


def _surface_seconds(surface: SurfaceSpec, device: str) -> float:
    spec = surface.trial
    data = describe(spec.dataset)
    whole = data.test if surface.split == "test" else data.train
    images = min(surface.subset or whole, whole)
    passes = PASSES[surface.kind] * surface.rows * surface.columns
    if device == "cpu":
        return passes * images * _forward(spec) / _core_speed(spec)
    batches = math.ceil(images / EVALUATION_BATCH)
    return passes * batches * spec.network.cells * GPU_CELL_SECONDS / (1 + BACKWARD)


def _forward(spec: TrialSpec) -> int:
    """Return the multiply-adds of one image."""
    return count_on(spec.genotype, spec.network, spec.dataset).multiply_adds


def _core_speed(spec: TrialSpec) -> float:
    channels = spec.network.channels
    return CORE_SPEED * channels / (channels + HALF_SPEED_CHANNELS)


@dataclass(frozen=True)
class Speeds:
    """Measured over guessed time; without ratios, guesses stand as they are.

    Attributes:
        ratios: By ("trial", a program or a kind of surface, and "cuda" or "cpu"), one per row.
    """

    ratios: Mapping[tuple[str, str], list[float]] = field(default_factory=dict)

    def factor(self, kind: str, device: str) -> float:
        """Return what a guess is multiplied by: the median ratio, 1 where nothing was measured."""
        found = self.ratios.get((kind, device))
        return statistics.median(found) if found else 1.0

    def basis(self, work: Sequence[Work], device: str) -> str:
        """Return what an estimate rests on, such as `from 40 measured` or `rough`."""
        counts = [len(self.ratios.get((kind, device), ())) for kind in {*map(_kind, work)}]
        return f"from {sum(counts)} measured" if counts and all(counts) else "rough"

    def total_seconds(self, work: Sequence[Work], device: str) -> float:
        """Return how long all of it takes, one after the other."""
        factors = {kind: self.factor(kind, device) for kind in {*map(_kind, work)}}
        return sum(seconds(one, device) * factors[_kind(one)] for one in work)


def measured_speeds(store: Store) -> Speeds:
    """Return the speeds of a store, from a sample of its ended trials and finished surfaces."""
    ratios: dict[tuple[str, str], list[float]] = {}
    for row in _sample(store, layout.TRIALS):
        _add_ratio(ratios, row, read_trial, row["train_seconds"])
    for row in _sample(store, layout.SURFACES):
        _add_ratio(ratios, row, SurfaceSpec.from_json, row["measure_seconds"])
    return Speeds(ratios)


def launch_seconds(total: float, side_by_side: int) -> float:
    """Return how long a launch takes whose devices share `total` seconds of work."""
    return total / side_by_side + OVERHEAD


def format_duration(total: float, device: str, side_by_side: int) -> str:
    """Return a duration such as `about 1.9 years on 2 CPU cores`, which share `total` seconds.

    It includes the start of Ray and the drawing of the report.
    """
    unit = "CPU core" if device == "cpu" else "GPU"
    plural = "s" if side_by_side > 1 else ""
    return f"about {duration(launch_seconds(total, side_by_side))} on {side_by_side} {unit}{plural}"


def _kind(work: Work) -> str:
    if isinstance(work, ProgramSpec):
        return work.program
    return "trial" if isinstance(work, TrialSpec) else work.kind


def _add_ratio(
    ratios: dict[tuple[str, str], list[float]],
    row: dict[str, Any],
    read: Callable[[str], Work],
    took: float | None,
) -> None:
    device = "cuda" if row["gpu"] else "cpu"
    try:
        work = read(row["spec"])
        guess = seconds(work, device)
    except SpecError:
        return  # written by another release, whose fields mean something else
    if not isinstance(work, SurfaceSpec):
        guess *= row["epochs"] / work.epochs if work.epochs else 1
    if took and device == "cuda":
        # The guess is for a GPU to itself. Processes that share one take as much of its time as
        # their share; a pack takes its share once for all of its trials.
        took *= (row["gpu_share"] or 1.0) / (row.get("pack_size") or 1)
    if took and guess:
        ratios.setdefault((_kind(work), device), []).append(took / guess)


def _sample(store: Store, folder: str) -> list[dict[str, Any]]:
    """Return rows that name their device, spread evenly over all of a table."""
    rows, keys = [], [key for key in store.list(folder) if layout.names([key])]
    if not keys:
        return rows
    from results_schema import tables  # brings in pyarrow, which a new store's plan does without

    for key in keys[:: -(-len(keys) // SAMPLE) or 1]:
        try:
            rows += tables.from_parquet(store.get(key), tables.OPENED[folder], key).to_pylist()
        except NasSweepError:
            continue  # removed or damaged: `status` reports it, an estimate can do without
    return [row for row in rows if row["gpu"] is not None]
