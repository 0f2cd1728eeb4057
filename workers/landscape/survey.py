"""The life of one surface: take its lease, restore the network, measure row by row, end.

The points file is the ledger. It is rewritten every half minute with all rows so far, and whoever
resumes measures what is missing. Rows name the checkpoint that was measured; those of a network
that the trial no longer has are dropped. A surface ends in this order: its points, then its row.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import safetensors.torch
import torch
from torch import Tensor

from results_schema import layout, tables
from results_schema.errors import CorruptData, DataError, MissingKey, SpecError
from results_schema.lease import Lease
from results_schema.plugins import sources
from results_schema.store import Store
from results_schema.surface import LANDSCAPE_VERSION, SurfaceSpec
from results_schema.tables import POINTS, SURFACES
from workers.data.batches import Data
from workers.landscape.instances import Row, select_instances
from workers.landscape.measures import Case, Measure, measure
from workers.landscape.outdated import is_outdated
from workers.network.network import Network
from workers.training import checkpoint
from workers.training import device as devices
from workers.training.attempt import (
    Ask,
    ItemLog,
    Outcome,
    Status,
    Stopped,
    Stopping,
    StopRequest,
    attempt,
    nobody,
)
from workers.training.setup import check_versions, fresh_network, load_for

PUBLISH_EVERY = 30.0
"""Seconds between two rewritings of the points: what a killed worker loses at most."""

_SEAL = hashlib.sha256().digest_size  # bytes in front of vectors that reveal damage
_NO_POINT: Row = dict.fromkeys(column.name for column in POINTS if column.nullable)


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
    """Measure a surface to its end, from the points it has; errors are an outcome too.

    Args:
        spec: The surface.
        store: Store of the trial's checkpoint, of the points and of the row.
        device: See `device.choose`, like the next.
        deterministic: Whether a GPU must give the same bits again; no part of the identity.
        token: See `attempt`.
        every: Seconds between two rewritings of the points.
        gpu_share: GPUs that this process has, below 1 a share of one, for the row.
        on_points: Called after each point with the number of points so far, and of all.
        stop: Request to stop before the next batch; what was measured is kept.
        ask: See `attempt`.
    """
    choose = partial(devices.choose, device, deterministic=deterministic)

    def begin(lease: Lease, log: ItemLog, stopping: Stopping) -> _Survey:
        return _Survey(spec, store, lease, log, choose, every, gpu_share, on_points, stopping)

    return attempt(store, spec.surface_id, token, begin, stop or StopRequest(), ask)


@dataclass
class _Survey:
    """One worker's attempt at a surface whose lease it holds."""

    spec: SurfaceSpec
    store: Store
    lease: Lease
    log: ItemLog
    choose_device: Callable[[], torch.device]
    every: float
    gpu_share: float
    on_points: Callable[[int, int], None]
    stopping: Stopping
    done: int = 0
    rows: list[Row] = field(default_factory=list)

    def run(self) -> tuple[Status, str]:
        """Measure until the surface is finished or a stop is requested."""
        spec, started = self.spec, datetime.now(UTC)
        if status := self._finished():
            return status, "it was finished before"
        if self.stopping.request.made:
            return "stopped", "before it began"
        _check(spec)
        device = self.choose_device()
        share = self.gpu_share if device.type == "cuda" else None
        provenance = devices.provenance(device) | {"started_at": started, "gpu_share": share}
        self.log.add(f"{spec.surface_id} on {provenance['host']}, {device}")
        for source in sources(spec.trial.extensions):
            self.log.add(source)
        # Flushed before the data set is loaded, which may take long or fail.
        self.log.flush()
        data = load_for(spec.trial, device)
        trained = restore(spec, self.store, data, device)
        images, labels = select_instances(spec, data)
        row = _row(spec, trained, len(labels)) | provenance
        if not trained.finite:
            reason = f"a weight is not finite after epoch {trained.epoch}"
            return self._end(row | {"status": "diverged", "exit_reason": reason})
        # Every pass of a batch goes through the classifier. A check once a point would come too
        # rarely: a point may take minutes.
        trained.network.classifier.register_forward_pre_hook(lambda *_: self.stopping.check())
        case = Case(spec, trained.network, images, labels, trained_on=len(data.train))
        measuring = measure(case)
        try:
            self._measure(measuring, trained.checkpoint)
            summary = measuring.summary(self.rows)
        except Stopped:
            self._publish(measuring, trained.checkpoint)
            return "stopped", f"after {len(self.rows)} of {spec.points} points"
        self._publish(measuring, trained.checkpoint, final=True)
        reason = f"measured {len(self.rows)} points"
        return self._end(row | summary | {"status": "done", "exit_reason": reason})

    def _finished(self) -> Status | None:
        """Return the status of the surface's row, and remove one of a network that is gone."""
        key = layout.surface(self.spec.surface_id)
        for row in _read(self.store, key, SURFACES):
            if not is_outdated(self.store, row):
                return row["status"]
            # Removed first: with it a reader would take the old row for that of the new points.
            self.store.delete(key, lease=self.lease)
            self.log.add("its row is of a checkpoint that the trial no longer has: measuring again")
        return None

    def _measure(self, measuring: Measure, digest: str | None) -> None:
        state = self._vectors(digest)
        self.rows = measuring.resume(self._ledger(digest), state)
        if self.rows:
            self.log.add(f"resumes from {len(self.rows)} of {self.spec.points} points")
        published, start = time.monotonic(), time.perf_counter()
        for found in measuring.missing():
            row = _NO_POINT | {
                "surface_id": self.spec.surface_id,
                "trial_id": self.spec.trial.trial_id,
                "kind": self.spec.kind,
                "checkpoint": digest,
                "seconds": time.perf_counter() - start,
                "finished_at": datetime.now(UTC),
            }
            self.rows.append(row | found)
            self.done += 1
            self.on_points(len(self.rows), self.spec.points)
            # All rows are rewritten at once, so by time, not by row: a small point takes a
            # millisecond and a large one minutes.
            if time.monotonic() - published >= self.every:
                self._publish(measuring, digest)
                published = time.monotonic()
            # The next point's time begins after the publication, which is no part of it.
            start = time.perf_counter()

    def _ledger(self, digest: str | None) -> list[Row]:
        """Return the rows so far; none if their file is damaged, or of another checkpoint."""
        try:
            rows = _read(self.store, layout.points(self.spec.surface_id), POINTS)
        except CorruptData as error:
            self.log.add(f"the points are damaged and measured again: {error}")
            return []
        if any(row["checkpoint"] != digest for row in rows):
            self.log.add("the points are of another checkpoint and measured again")
            return []
        return rows

    def _vectors(self, digest: str | None) -> dict[str, Tensor]:
        """Return the measure's state besides the rows; none if it is damaged or another's."""
        key = layout.vectors(self.spec.surface_id)
        try:
            found = self.store.get(key, most=checkpoint.LARGEST_TENSORS)
        except MissingKey:
            return {}
        except CorruptData:
            found = b""
        seal, data = found[:_SEAL], found[_SEAL:]
        # Damaged vectors cost steps, not a failure: they follow from the rows.
        if seal != _seal(data, digest):
            self.log.add("the vectors are damaged, or of another checkpoint: they are not used")
            return {}
        return safetensors.torch.load(data)

    def _publish(self, measuring: Measure, digest: str | None, *, final: bool = False) -> None:
        key, data = layout.points(self.spec.surface_id), tables.to_parquet(self.rows, POINTS)
        self.store.put(key, data, lease=self.lease, durable=True, final=final)
        # After the rows: a worker killed in between has rows too many, whose steps are made again.
        # In the other order the vectors would be ahead of the rows, and the run could not continue.
        if state := measuring.state():
            data = safetensors.torch.save(state)
            key, data = layout.vectors(self.spec.surface_id), _seal(data, digest) + data
            self.store.put(key, data, lease=self.lease, durable=True)
        self.log.add(f"{len(self.rows)} of {self.spec.points} points")
        self.log.flush()

    def _end(self, row: Row) -> tuple[Status, str]:
        """Write the surface's row, its last file, and remove what only a running surface needs."""
        spec, store, epoch = self.spec, self.store, row["epoch"]
        row |= {
            "ended_at": datetime.now(UTC),
            "measure_seconds": float(sum(point["seconds"] for point in self.rows)),
        }
        # A measurement may take hours, in which the trial may have been retried.
        if is_outdated(store, row):
            raise DataError(
                f"the checkpoint of epoch {epoch} was removed or replaced while it was measured",
                where=store.locate(layout.tensors(spec.trial.trial_id, epoch)),
                fix="launch again: the trial is trained and its surface measured again",
            )
        store.delete(layout.vectors(spec.surface_id), lease=self.lease)
        store.delete(layout.failure(spec.surface_id), lease=self.lease)
        self.log.add(f"{row['status']}: {row['exit_reason']}")
        self.log.flush()
        data = tables.to_parquet([row], SURFACES)
        store.put(layout.surface(spec.surface_id), data, lease=self.lease, final=True)
        return row["status"], row["exit_reason"]


def _read(store: Store, key: str, schema: pa.Schema) -> list[Row]:
    """Return the rows of a table's file; none if there is no such file."""
    try:
        return tables.from_parquet(store.get(key), schema, key).to_pylist()
    except MissingKey:
        return []


def _check(spec: SurfaceSpec) -> None:
    check_versions(spec.trial)
    if (version := spec.version) != (ours := LANDSCAPE_VERSION):
        raise SpecError(
            f"the version of the landscape is {version}, and this release's is {ours}",
            fix="measure it with the release that named it, or name it again with this one",
        )


def _row(spec: SurfaceSpec, trained: Trained, instances: int) -> Row:
    """Return what a surface's row has before any point is measured."""
    return {
        **dict.fromkeys(column.name for column in SURFACES if column.nullable),
        **{column: getattr(spec, column) for column in SURFACES.names if hasattr(spec, column)},
        "trial_id": spec.trial.trial_id,
        "epoch": trained.epoch,
        "instances": instances,
        "notes": "{}",
        "checkpoint": trained.checkpoint,
        "spec": spec.to_json(),
    }


def _seal(data: bytes, digest: str | None) -> bytes:
    """Return a hash of vectors and of the checkpoint that they belong to."""
    return hashlib.sha256((digest or "").encode() + data).digest()


@dataclass(frozen=True)
class Trained:
    """A network to be measured, on its device."""

    network: Network
    epoch: int  # the last that it was trained for; before the spec's if the trial diverged
    finite: bool  # whether every weight and running statistic is a finite number
    checkpoint: str | None  # SHA-256 of the checkpoint's tensors; None for the untrained network


def restore(spec: SurfaceSpec, store: Store, data: Data, device: torch.device) -> Trained:
    """Return the network that a surface is measured on, which has the shapes of the data.

    Raises:
        DataError: The checkpoint is missing or damaged.
    """
    trial = spec.trial
    network = fresh_network(trial, data.about)
    epoch = _epoch(spec, store)
    digest = load_weights(network, store, trial.trial_id, epoch) if epoch else None
    network.to(device)
    finite = all(bool(t.isfinite().all()) for t in network.state_dict().values())
    return Trained(network, epoch, finite, digest)


def load_weights(network: Network, store: Store, trial_id: str, epoch: int) -> str:
    """Load a checkpoint's weights into the trial's network; return the SHA-256 of its tensors.

    Raises:
        DataError: The checkpoint is missing or damaged.
    """
    try:
        found = checkpoint.load(store, trial_id, epoch)
        # A checkpoint has momenta too. The names are taken once: a state dict of the paper's
        # network takes longer to build than to look up all of its tensors.
        own = network.state_dict().keys()
        network.load_state_dict({name: t for name, t in found.tensors.items() if name in own})
    except (CorruptData, MissingKey, RuntimeError) as error:
        raise DataError(
            f"the checkpoint of epoch {epoch} can't be used: {error}",
            where=store.locate(layout.tensors(trial_id, epoch)),
            fix=f"train the trial again: nas-sweep retry {trial_id}, then launch",
        ) from error
    return found.digest


def _epoch(spec: SurfaceSpec, store: Store) -> int:
    """Return the epoch of the checkpoint to measure.

    It is the spec's own, or where that is the end of a trial that diverged, the one where it did.
    """
    trial_id = spec.trial.trial_id
    kept = checkpoint.epochs(store, trial_id)
    if spec.epoch == 0 or spec.epoch in kept:
        return spec.epoch
    if spec.epoch == spec.trial.recipe.epochs:
        ended = _diverged_after(store, trial_id)
        if ended in kept:
            return ended
    names = ", ".join(map(str, kept)) or "none"
    raise DataError(
        f"{trial_id} has no checkpoint of epoch {spec.epoch}; kept are: {names}",
        where=store.locate(layout.checkpoints(trial_id) + "state"),
        fix="name a kept epoch, or launch the trial again with --checkpoint-at "
        f"{spec.epoch} after nas-sweep retry {trial_id}",
    )


def _diverged_after(store: Store, trial_id: str) -> int:
    """Return the epochs that a diverged trial was trained for; 0 for any other trial."""
    rows = _read(store, layout.trial(trial_id), tables.TRIALS)
    # A trial that still trains has no row: its newest checkpoint is not its end.
    return rows[0]["epochs"] if rows and rows[0]["status"] == "diverged" else 0
