"""How the surfaces of experiments stand, from the store alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from orchestrator.housekeeping import lookup
from results_schema import layout, tables
from results_schema.errors import NasSweepError
from results_schema.lease import EXPIRY, Holder
from results_schema.store import Store, recorded_failure

SURFACE_STATES = ("done", "running", "failed", "cancelled", "owed")


@dataclass(frozen=True)
class Measuring:
    """A surface that somebody holds.

    Attributes:
        surface_id: Of the surface.
        host: Of the holder.
        points: In its file, which is rewritten every half minute.
        of: Points of its grid.
        left: Seconds that the others will take at the pace so far; None before the first.
        lost: Whether the holder is dead, or silent for so long that it may be replaced.
    """

    surface_id: str
    host: str
    points: int
    of: int
    left: float | None
    lost: bool


@dataclass(frozen=True)
class SurfaceStatus:
    """How things stand.

    Attributes:
        experiments: Of each experiment that wants surfaces the state of each of them.
        running: What is held, lost leases too.
        failed: `surface_id`, `kind`, `message`, `at` and `log` of each failed surface.
    """

    experiments: dict[str, dict[str, str]] = field(default_factory=dict)
    running: list[Measuring] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)

    @property
    def over(self) -> bool:
        """Whether nothing runs and nothing is owed."""
        left = {state for surfaces in self.experiments.values() for state in surfaces.values()}
        return not left & {"running", "owed"}


def look_at_surfaces(store: Store, experiments: Iterable[str]) -> SurfaceStatus:
    """The surfaces that some experiments want; reads and never fences.

    Raises:
        CorruptData: An experiment's table is damaged.
        StoreError: The store can't be read.
    """
    groups = {name: found for name in experiments if (found := lookup.wanted(store, name))}
    sizes = {name: points for group in groups.values() for name, points in group.items()}
    held = {item: by for item, by in store.leases.held().items() if item in sizes}
    failures = layout.names(store.list(layout.FAILURES)) & sizes.keys()
    cancelled = lookup.cancelled(store)
    done = layout.names(store.list(layout.SURFACES)) & sizes.keys()
    running = [
        _measuring(store, name, holder, sizes[name])
        for name, holder in sorted(held.items())
        if name not in done
    ]
    alive = {one.surface_id for one in running if not one.lost}

    def state(name: str) -> str:
        if name in done:
            return "done"
        if name in alive:
            return "running"
        if name in failures:
            return "failed"
        return "cancelled" if {name, layout.trial_of(name)} & cancelled else "owed"

    states = {name: {one: state(one) for one in group} for name, group in groups.items()}
    failed = [name for name in sorted(failures) if name not in done and name not in alive]
    return SurfaceStatus(states, running, [_failure(store, name) for name in failed])


def surfaces_as_json(status: SurfaceStatus) -> Mapping[str, Any]:
    """The same for programs."""
    return {
        "experiments": {
            name: {state: sum(s == state for s in group.values()) for state in SURFACE_STATES}
            for name, group in status.experiments.items()
        },
        "running": [vars(one) for one in status.running],
        "failed": status.failed,
    }


def _measuring(store: Store, name: str, holder: Holder, of: int) -> Measuring:
    points, left = 0, None
    try:
        file = tables.open_parquet(store.get(layout.points(name)))
        if not tables.is_of(file, name):
            raise ValueError("it has points of another surface")
        seconds = file.read(["seconds"], use_threads=False)["seconds"].to_pylist()
        points = len(seconds)
        left = sum(seconds) / points * (of - points) if points else None
    except (NasSweepError, pa.ArrowException, OSError, ValueError, KeyError):
        pass  # none yet, or damaged: its worker will write it anew
    silent = (store.leases.age(name, holder) or 0.0) >= EXPIRY
    lost = store.leases.expired(name, holder) or silent
    return Measuring(name, holder.host, points, of, left, lost)


def _failure(store: Store, name: str) -> dict[str, str]:
    return {
        "surface_id": name,
        **recorded_failure(store, name),
        "log": store.locate(layout.log(name)),
    }
