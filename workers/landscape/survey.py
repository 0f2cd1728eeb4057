"""The life of one surface: take its lease, restore the network, measure point by point, end.

The points file is the ledger. It is rewritten every half minute with all points so far, and whoever
goes on measures what it lacks. A surface ends in this order: its points, then its row.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import torch

from results_schema import layout, tables
from results_schema.errors import CorruptData, MissingKey, SpecError
from results_schema.lease import Lease
from results_schema.store import Store
from results_schema.surface import LANDSCAPE_VERSION, SurfaceSpec
from results_schema.surface_tables import POINTS, SURFACES
from workers.attempt import Outcome, attempt
from workers.data.batches import normalise
from workers.data.images import Data, load
from workers.landscape.instances import subset
from workers.landscape.measures import Measure, Row, grid, measure
from workers.landscape.trained import Trained, restore
from workers.training import device as devices
from workers.training.ending import ended_status
from workers.training.log import ItemLog
from workers.training.loop import check_versions
from workers.training.provenance import gather
from workers.training.stopping import Ask, Stopped, Stopping, StopRequest, nobody

PUBLISH_EVERY = 30.0
"""Seconds between two rewritings of the points: what a killed worker loses at most."""


def survey(
    spec: SurfaceSpec,
    store: Store,
    *,
    device: str | None = None,
    deterministic: bool = False,
    token: str | None = None,
    every: float = PUBLISH_EVERY,
    gpu_share: float = 1.0,
    on_points: Callable[[int, int], None] = lambda done, total: None,
    stop: StopRequest | None = None,
    ask: Ask = nobody,
) -> Outcome:
    """Measures a surface to its end, from the points it has.

    Args:
        spec: The surface.
        store: Holds the trial's checkpoint, and where points and row go.
        device: See `device.choose`.
        deterministic: Whether a GPU must give the same bits again; no part of the identity.
        token: Name of the lease, chosen by whoever may want to fence it.
        every: Seconds between two rewritings of the points.
        gpu_share: GPUs that this process has, below 1 a share of one; recorded in the row of a
            surface measured on a GPU.
        on_points: Told after each point how many there are, and of how many.
        stop: Asks it to stop, before the next batch; what was measured is kept.
        ask: Called before it begins and once a second by another thread, the one that keeps the
            lease; the reason that it returns asks to stop likewise.

    Returns:
        How it went; an error is an outcome too, see `attempt`.
    """

    def begin(lease: Lease, log: ItemLog, stopping: Stopping) -> _Survey:
        return _Survey(spec, store, lease, log, use, every, gpu_share, on_points, stopping)

    def use() -> torch.device:
        return devices.choose(device, deterministic=deterministic)

    return attempt(store, spec.surface_id, token, begin, stop or StopRequest(), ask)


@dataclass
class _Survey:
    """One worker's attempt at a surface whose lease it holds."""

    spec: SurfaceSpec
    store: Store
    lease: Lease
    log: ItemLog
    device: Callable[[], torch.device]
    every: float
    gpu_share: float
    on_points: Callable[[int, int], None]
    stopping: Stopping
    done: int = 0
    rows: list[Row] = field(default_factory=list)

    def run(self) -> tuple[str, str]:
        """Measures until the surface is finished or it is asked to stop."""
        spec, started = self.spec, datetime.now(UTC)
        if status := ended_status(self.store, spec.surface_id):
            return status, "it was finished before"
        if self.stopping.request.made:
            return "stopped", "before it began"
        _check(spec)
        device = self.device()
        share = self.gpu_share if device.type == "cuda" else None
        provenance = gather(device) | {"started_at": started, "gpu_share": share}
        self.log.say(f"{spec.surface_id} on {provenance['host']}, {device}")
        self.log.flush()
        data = load(spec.trial.dataset, device).normalised_by(spec.trial.recipe.statistics)
        trained = restore(spec, self.store, data, device)
        images, labels = _instances(spec, data)
        if not trained.finite:
            reason = f"a weight is not finite after epoch {trained.epoch}"
            return self._end("diverged", reason, {}, trained, len(labels), provenance)
        # Every pass of a batch goes through the classifier: a point may take minutes.
        trained.network.classifier.register_forward_pre_hook(lambda *_: self.stopping.check())
        measuring = measure(
            spec, trained.network, images, labels, trained_on=len(data.train.labels)
        )
        try:
            self._measure(measuring)
            found = measuring.summary(self.rows)
        except Stopped:
            self._publish()
            return "stopped", f"after {len(self.rows)} of {spec.rows * spec.columns} points"
        self._publish(final=True)
        reason = f"measured {len(self.rows)} points"
        return self._end("done", reason, found, trained, len(labels), provenance)

    def _measure(self, measuring: Measure) -> None:
        points = grid(self.spec).points()
        self.rows = self._ledger()
        there = {(row["row"], row["column"]) for row in self.rows}
        if there:
            self.log.say(f"goes on from {len(there)} of {len(points)} points")
        published = time.monotonic()
        for point in points:
            if (point.row, point.column) in there:
                continue
            start = time.perf_counter()
            row = measuring.at(point)
            self.rows.append(self._row(point, row, time.perf_counter() - start))
            self.done += 1
            self.on_points(len(self.rows), len(points))
            if time.monotonic() - published >= self.every:
                self._publish()
                published = time.monotonic()

    def _row(self, point: Any, found: Row, seconds: float) -> Row:
        return {
            "surface_id": self.spec.surface_id,
            "trial_id": self.spec.trial.trial_id,
            "kind": self.spec.kind,
            "row": point.row,
            "column": point.column,
            "alpha": point.alpha,
            "beta": point.beta,
            **found,
            "seconds": seconds,
            "finished_at": datetime.now(UTC),
        }

    def _ledger(self) -> list[Row]:
        """The points so far; none if their file is damaged, which costs them alone."""
        key = layout.points(self.spec.surface_id)
        try:
            return tables.from_parquet(self.store.get(key), POINTS, key).to_pylist()
        except MissingKey:
            return []
        except CorruptData as error:
            self.log.say(f"the points are damaged and measured anew: {error}")
            return []

    def _publish(self, *, final: bool = False) -> None:
        key, data = layout.points(self.spec.surface_id), tables.to_parquet(self.rows, POINTS)
        self.store.put(key, data, lease=self.lease, durable=True, final=final)
        self.log.say(f"{len(self.rows)} of {self.spec.rows * self.spec.columns} points")
        self.log.flush()

    def _end(
        self,
        status: str,
        reason: str,
        found: Row,
        trained: Trained,
        instances: int,
        provenance: dict[str, Any],
    ) -> tuple[str, str]:
        spec, store = self.spec, self.store
        empty = {f.name: None for f in SURFACES if f.nullable}
        row = empty | {
            "surface_id": spec.surface_id,
            "trial_id": spec.trial.trial_id,
            "kind": spec.kind,
            "status": status,
            "epoch": trained.epoch,
            "rows": spec.rows,
            "columns": spec.columns,
            "extent": spec.extent,
            "seed": spec.seed,
            "pair": spec.pair,
            "normalisation": spec.normalisation,
            "split": spec.split,
            "instances": instances,
            "precision": spec.precision,
            "notes": "{}",
            "spec": spec.to_json(),
            "exit_reason": reason,
            "ended_at": datetime.now(UTC),
            "measure_seconds": float(sum(row["seconds"] for row in self.rows)),
            **provenance,
            **found,
        }
        store.delete(layout.failure(spec.surface_id), lease=self.lease)
        self.log.say(f"{status}: {reason}")
        self.log.flush()
        data = tables.to_parquet([row], SURFACES)
        store.put(layout.surface(spec.surface_id), data, lease=self.lease, final=True)
        return status, reason


def _instances(spec: SurfaceSpec, data: Data) -> tuple[Any, Any]:
    images = data.test if spec.split == "test" else data.train
    chosen = subset(spec.subset_seed, spec.subset or len(images), len(images))
    chosen = chosen.to(images.labels.device)
    return normalise(images.pixels[chosen], data.about), images.labels[chosen]


def _check(spec: SurfaceSpec) -> None:
    check_versions(spec.trial)
    if spec.version != LANDSCAPE_VERSION:
        raise SpecError(
            f"the version of the landscape is {spec.version}, and this release's is "
            f"{LANDSCAPE_VERSION}",
            fix="measure it with the release that named it, or name it anew with this one",
        )
