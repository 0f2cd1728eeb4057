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
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from results_schema import layout, tables
from results_schema.errors import CorruptData, DataError, MissingKey, SpecError
from results_schema.plugins import sources
from results_schema.store import Store
from results_schema.surface import LANDSCAPE_VERSION, SurfaceSpec
from results_schema.tables import POINTS, SURFACES
from workers.landscape.instances import Row, select_instances
from workers.landscape.measures import Case, Measure, measure
from workers.landscape.outdated import is_outdated
from workers.network.network import Network
from workers.training import checkpoint
from workers.training.attempt import Attempt, Outcome, Status, Stopped, read_rows
from workers.training.setup import check_versions, fresh_network, load_for

PUBLISH_EVERY = 30.0
"""Seconds between two rewritings of the points: what a killed worker loses at most."""

_SEAL = hashlib.sha256().digest_size  # bytes in front of vectors that reveal damage
_NO_POINT: Row = dict.fromkeys(column.name for column in POINTS if column.nullable)


def survey(spec: SurfaceSpec, store: Store, **options: Any) -> Outcome:
    """Measure a surface to its end, from the points it has; options are fields of `Survey`."""
    return Survey(spec, store, **options).run()


@dataclass(kw_only=True)
class Survey(Attempt[SurfaceSpec]):
    """One worker's attempt at a surface.

    Attributes:
        every: Seconds between two rewritings of the points.
        on_points: Called after each point with the number of points so far, and of all.
        rows: Those of the points so far.
    """

    every: float = PUBLISH_EVERY
    on_points: Callable[[int, int], None] = lambda done, total: None
    rows: list[Row] = field(default_factory=list, init=False)
    measuring: Measure = field(init=False)
    digest: str | None = field(init=False)  # of the checkpoint's tensors

    @property
    def item(self) -> str:
        """The surface's id."""
        return self.spec.surface_id

    def ended(self) -> Status | None:
        """Return the status of the surface's row, and remove one of a network that is gone."""
        key = layout.surface(self.item)
        for row in read_rows(self.store, key, SURFACES):
            if not is_outdated(self.store, row):
                return row["status"]
            # Removed first: with it a reader would take the old row for that of the new points.
            self.store.delete(key, lease=self.lease)
            self.log.add("its row is of a checkpoint that the trial no longer has: measuring again")
        return None

    def choose_device(self) -> torch.device:
        """Return the device; raise an error if this release measures something else."""
        check_versions(self.spec.trial)
        if (version := self.spec.version) != (ours := LANDSCAPE_VERSION):
            raise SpecError(
                f"the version of the landscape is {version}, and this release's is {ours}",
                fix="measure it with the release that named it, or name it again with this one",
            )
        return super().choose_device()

    def work(self, device: torch.device) -> tuple[Status, str]:
        """Measure until the surface is finished or a stop is requested."""
        spec, started = self.spec, datetime.now(UTC)
        provenance = self.provenance(device) | {"started_at": started}
        self.log.add(f"{self.item} on {provenance['host']}, {device}")
        for source in sources(spec.trial.extensions):
            self.log.add(source)
        self.log.flush()
        data = load_for(spec.trial, device)
        network, epoch, self.digest = fresh_network(spec.trial, data.about), self._epoch(), None
        if epoch:
            self.digest = load_weights(network, self.store, spec.trial.trial_id, epoch)
        network.to(device)
        images, labels = select_instances(spec, data)
        row = {
            **dict.fromkeys(column.name for column in SURFACES if column.nullable),
            **{column: getattr(spec, column) for column in SURFACES.names if hasattr(spec, column)},
            "trial_id": spec.trial.trial_id,
            "epoch": epoch,
            "instances": len(labels),
            "notes": "{}",
            "checkpoint": self.digest,
            "spec": spec.to_json(),
            **provenance,
        }
        if not all(bool(tensor.isfinite().all()) for tensor in network.state_dict().values()):
            reason = f"a weight is not finite after epoch {epoch}"
            # Those of a network that the trial no longer has.
            self.store.delete(layout.points(self.item), lease=self.lease)
            return self._end(row | {"status": "diverged", "exit_reason": reason})
        # Each batch goes through the classifier; a point may take minutes.
        stopping = self.stopping  # not `self`, whose network would stay in a cycle
        network.classifier.register_forward_pre_hook(lambda *_: stopping.check())
        case = Case(spec, network, images, labels, trained_on=len(data.train))
        try:
            self.measuring = measure(case)  # which may run the network
        except Stopped:
            return "stopped", "before it measured"
        try:
            self._measure()
            summary = self.measuring.summary(self.rows)
        except Stopped:
            self._publish()
            return "stopped", f"after {len(self.rows)} of {spec.points} points"
        self._publish(final=True)
        reason = f"measured {len(self.rows)} points"
        return self._end(row | summary | {"status": "done", "exit_reason": reason})

    def _measure(self) -> None:
        state = self._vectors()
        self.rows = self.measuring.resume(self._ledger(), state)
        if self.rows:
            self.log.add(f"resumes from {len(self.rows)} of {self.spec.points} points")
        published, start = time.monotonic(), time.perf_counter()
        for found in self.measuring.missing():
            row = _NO_POINT | {
                "surface_id": self.item,
                "trial_id": self.spec.trial.trial_id,
                "kind": self.spec.kind,
                "checkpoint": self.digest,
                "seconds": time.perf_counter() - start,
                "finished_at": datetime.now(UTC),
            }
            self.rows.append(row | found)
            self.done += 1
            self.on_points(len(self.rows), self.spec.points)
            # All rows are rewritten at once, so by time: a point takes a millisecond or minutes.
            if time.monotonic() - published >= self.every:
                self._publish()
                published = time.monotonic()
            start = time.perf_counter()

    def _ledger(self) -> list[Row]:
        """Return the rows so far; none if their file is damaged, or of another checkpoint."""
        try:
            rows = read_rows(self.store, layout.points(self.item), POINTS)
        except CorruptData as error:
            self.log.add(f"the points are damaged and measured again: {error}")
            return []
        if any(row["checkpoint"] != self.digest for row in rows):
            self.log.add("the points are of another checkpoint and measured again")
            return []
        return rows

    def _vectors(self) -> dict[str, Tensor]:
        """Return the measure's state besides the rows; none if it is damaged or another's."""
        try:
            found = self.store.get(layout.vectors(self.item), most=checkpoint.LARGEST_TENSORS)
        except MissingKey:
            return {}
        except CorruptData:
            found = b""
        seal, data = found[:_SEAL], found[_SEAL:]
        # Damaged vectors cost steps, not a failure: they follow from the rows.
        if seal != self._seal(data):
            self.log.add("the vectors are damaged, or of another checkpoint: they are not used")
            return {}
        return safetensors.torch.load(data)

    def _seal(self, vectors: bytes) -> bytes:
        """Return a hash of vectors and of the checkpoint that they belong to."""
        return hashlib.sha256((self.digest or "").encode() + vectors).digest()

    def _publish(self, *, final: bool = False) -> None:
        key, data = layout.points(self.item), tables.to_parquet(self.rows, POINTS)
        self.store.put(key, data, lease=self.lease, durable=True, final=final)
        # After the rows: vectors ahead of them could not be continued from.
        if state := self.measuring.state():
            data = safetensors.torch.save(state)
            key = layout.vectors(self.item)
            self.store.put(key, self._seal(data) + data, lease=self.lease, durable=True)
        self.log.add(f"{len(self.rows)} of {self.spec.points} points")
        self.log.flush()

    def _epoch(self) -> int:
        """Return the spec's epoch, or if that is the last, the one in which the trial diverged."""
        spec, store, trial_id = self.spec, self.store, self.spec.trial.trial_id
        kept = checkpoint.epochs(store, trial_id)
        if spec.epoch == 0 or spec.epoch in kept:
            return spec.epoch
        # A trial that still trains has no row: its newest checkpoint is not its end.
        for row in read_rows(store, layout.trial(trial_id), tables.TRIALS):
            last = spec.epoch == spec.trial.recipe.epochs and row["status"] == "diverged"
            if last and row["epochs"] in kept:
                return row["epochs"]
        names = ", ".join(map(str, kept)) or "none"
        raise DataError(
            f"{trial_id} has no checkpoint of epoch {spec.epoch}; kept are: {names}",
            where=store.locate(layout.checkpoints(trial_id) + "state"),
            fix="name a kept epoch, or launch the trial again with --checkpoint-at "
            f"{spec.epoch} after nas-sweep retry {trial_id}",
        )

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
        store.delete(layout.vectors(self.item), lease=self.lease)
        self.finish(layout.surface(self.item), row, SURFACES)
        return row["status"], row["exit_reason"]


def load_weights(network: Network, store: Store, trial_id: str, epoch: int) -> str:
    """Load a checkpoint's weights into the trial's network; return the SHA-256 of its tensors.

    Raises:
        DataError: The checkpoint is missing or damaged.
    """
    try:
        found = checkpoint.load(store, trial_id, epoch)
        # A checkpoint has momenta too. Names are taken once, as a state dict takes long to build.
        own = network.state_dict().keys()
        network.load_state_dict({name: t for name, t in found.tensors.items() if name in own})
    except (CorruptData, MissingKey, RuntimeError) as error:
        raise DataError(
            f"the checkpoint of epoch {epoch} can't be used: {error}",
            where=store.locate(layout.tensors(trial_id, epoch)),
            fix=f"train the trial again: nas-sweep retry {trial_id}, then launch",
        ) from error
    return found.digest
