"""The life of one surface: take its lease, restore the network, measure row by row, end.

The points file is the ledger. It is rewritten every half minute with all rows so far, and whoever
resumes measures what it lacks. Rows name the checkpoint that was measured; those of a network that
the trial no longer has are dropped. A surface ends in this order: its points, then its row.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from results_schema import layout, tables
from results_schema.errors import CorruptData, DataError, MissingKey, SpecError
from results_schema.lease import Lease
from results_schema.store import Store
from results_schema.surface import LANDSCAPE_VERSION, SurfaceSpec
from results_schema.tables import POINTS, SURFACES
from workers.data.batches import normalise
from workers.data.images import Data, load
from workers.landscape.instances import subset
from workers.landscape.measures import Measure, Row, measure
from workers.landscape.outdated import is_outdated
from workers.landscape.trained import Trained, restore
from workers.training import device as devices
from workers.training.attempt import (
    Ask,
    ItemLog,
    Outcome,
    Stopped,
    Stopping,
    StopRequest,
    attempt,
    nobody,
)
from workers.training.checkpoint import LARGEST_TENSORS
from workers.training.setup import check_versions

PUBLISH_EVERY = 30.0
"""Seconds between two rewritings of the points: what a killed worker loses at most."""


_SEAL = hashlib.sha256().digest_size
"""Bytes that stand before vectors (`layout.vectors`), to know damage by."""


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
        if status := self._finished():
            return status, "it was finished before"
        if self.stopping.request.made:
            return "stopped", "before it began"
        _check(spec)
        device = self.device()
        share = self.gpu_share if device.type == "cuda" else None
        provenance = devices.provenance(device) | {"started_at": started, "gpu_share": share}
        self.log.add(f"{spec.surface_id} on {provenance['host']}, {device}")
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
            self._measure(measuring, trained.checkpoint)
            found = measuring.summary(self.rows)
        except Stopped:
            self._publish(measuring, trained.checkpoint)
            return "stopped", f"after {len(self.rows)} of {spec.points} points"
        self._publish(measuring, trained.checkpoint, final=True)
        reason = f"measured {len(self.rows)} points"
        return self._end("done", reason, found, trained, len(labels), provenance)

    def _finished(self) -> str | None:
        """Return the status of the surface's row, and remove one of a network that is gone."""
        key = layout.surface(self.spec.surface_id)
        try:
            [row] = tables.from_parquet(self.store.get(key), SURFACES, key).to_pylist()
        except MissingKey:
            return None
        if not is_outdated(self.store, row):
            return row["status"]
        self.store.delete(key, lease=self.lease)
        self.log.add("its row is of a checkpoint that the trial no longer has: measuring again")
        return None

    def _measure(self, measuring: Measure, checkpoint: str | None) -> None:
        state = self._vectors(checkpoint)
        self.rows = measuring.resume(self._ledger(checkpoint), state)
        if self.rows:
            self.log.add(f"resumes from {len(self.rows)} of {self.spec.points} points")
        published, start = time.monotonic(), time.perf_counter()
        for found in measuring.missing():
            self.rows.append(self._row(found, checkpoint, time.perf_counter() - start))
            self.done += 1
            self.on_points(len(self.rows), self.spec.points)
            if time.monotonic() - published >= self.every:
                self._publish(measuring, checkpoint)
                published = time.monotonic()
            start = time.perf_counter()

    def _row(self, found: Row, checkpoint: str | None, seconds: float) -> Row:
        return {
            "surface_id": self.spec.surface_id,
            "trial_id": self.spec.trial.trial_id,
            "kind": self.spec.kind,
            **found,
            "checkpoint": checkpoint,
            "seconds": seconds,
            "finished_at": datetime.now(UTC),
        }

    def _ledger(self, checkpoint: str | None) -> list[Row]:
        """Return the rows so far; none if their file is damaged, or of another checkpoint."""
        key = layout.points(self.spec.surface_id)
        try:
            rows = tables.from_parquet(self.store.get(key), POINTS, key).to_pylist()
        except MissingKey:
            return []
        except CorruptData as error:
            self.log.add(f"the points are damaged and measured again: {error}")
            return []
        if any(row["checkpoint"] != checkpoint for row in rows):
            self.log.add("the points are of another checkpoint and measured again")
            return []
        return rows

    def _vectors(self, checkpoint: str | None) -> dict[str, Tensor]:
        """Return the measure's state besides the rows; none if it is damaged or another's."""
        try:
            found = self.store.get(layout.vectors(self.spec.surface_id), most=LARGEST_TENSORS)
        except MissingKey:
            return {}
        except CorruptData:
            found = b""
        seal, data = found[:_SEAL], found[_SEAL:]
        if seal != _seal(data, checkpoint):
            self.log.add("the vectors are damaged, or of another checkpoint: they are not used")
            return {}
        return safetensors.torch.load(data)

    def _publish(self, measuring: Measure, checkpoint: str | None, *, final: bool = False) -> None:
        key, data = layout.points(self.spec.surface_id), tables.to_parquet(self.rows, POINTS)
        self.store.put(key, data, lease=self.lease, durable=True, final=final)
        # Behind the rows: what is cut off in between has rows too many, which are measured again.
        if state := measuring.state():
            data = safetensors.torch.save(state)
            key, data = layout.vectors(self.spec.surface_id), _seal(data, checkpoint) + data
            self.store.put(key, data, lease=self.lease, durable=True)
        self.log.add(f"{len(self.rows)} of {self.spec.points} points")
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
            "checkpoint": trained.checkpoint,
            "spec": spec.to_json(),
            "exit_reason": reason,
            "ended_at": datetime.now(UTC),
            "measure_seconds": float(sum(row["seconds"] for row in self.rows)),
            **provenance,
            **found,
        }
        if is_outdated(store, row):
            raise DataError(
                f"the checkpoint of epoch {trained.epoch} was removed or replaced while it was "
                "measured",
                where=store.locate(layout.tensors(spec.trial.trial_id, trained.epoch)),
                fix="launch again: the trial is trained and its surface measured again",
            )
        store.delete(layout.vectors(spec.surface_id), lease=self.lease)
        store.delete(layout.failure(spec.surface_id), lease=self.lease)
        self.log.add(f"{status}: {reason}")
        self.log.flush()
        data = tables.to_parquet([row], SURFACES)
        store.put(layout.surface(spec.surface_id), data, lease=self.lease, final=True)
        return status, reason


def _seal(data: bytes, checkpoint: str | None) -> bytes:
    """Return a hash of vectors and of the checkpoint that they belong to."""
    return hashlib.sha256((checkpoint or "").encode() + data).digest()


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
