"""Checkpoints: the commit of a trial's progress.

A checkpoint is a safetensors file and a JSON file. The JSON carries every metrics row so far and
the SHA-256 of both; it is written second, and its presence is the commit. Nothing is unpickled.
Resuming takes the newest checkpoint whose hashes hold and falls back to the one before it. A
running trial uses `History`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from results_schema import layout, tables
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, MissingKey
from results_schema.lease import Lease
from results_schema.store import Store

Row = dict[str, Any]

LARGEST_TENSORS = 10_000_000_000
"""Bytes beyond which tensors are refused unread: a billion parameters."""

LARGEST_ROW = 2_000
"""Bytes of JSON that no epoch's row reaches, by far: a checkpoint with larger ones is refused."""

_RUNNING = 2
"""Newest checkpoints kept while a trial trains: should one be damaged, the other is there."""

_FIELDS = {
    "trial_id": str,
    "epoch": int,
    "kept": bool,
    "tensors_bytes": int,
    "tensors_sha256": str,
    "rows": list,
}
"""What a checkpoint's JSON carries."""

_NULLABLE = [column.name for column in tables.METRICS if column.nullable]
"""Columns that checkpoints of earlier releases lack."""

_PART = re.compile(r".*/epoch-(\d+)/(state\.json|tensors\.safetensors)")


@dataclass(frozen=True)
class Checkpoint:
    """What a trial resumes from.

    Attributes:
        epoch: The last one trained.
        rows: Of `tables.METRICS`, one for each epoch so far.
        tensors: The engine's state; without momenta after the trial's last epoch.
        kept: Whether no pruning removes it, whichever launch that serves.
        digest: SHA-256 of its tensors' file, once they are saved.
    """

    epoch: int
    rows: list[Row]
    tensors: dict[str, Tensor]
    kept: bool = False
    digest: str = ""


@dataclass(frozen=True)
class Checkpointing:
    """When checkpoints are committed, besides the one at the end; no part of a trial's identity.

    Attributes:
        every: Seconds that must have passed since the last one when an epoch ends.
        at: Epochs at which one is committed, and kept for good.
    """

    every: float = 60.0
    at: frozenset[int] = frozenset()


class History:
    """The rows of a trial whose lease is held, one for each epoch so far, and its checkpoints.

    Rows are published after each epoch and committed in a checkpoint from time to time. A resumed
    trial republishes the rows of its checkpoint and trains on, so that rows beyond it are replaced
    by the same rows again.

    Attributes:
        rows: Those of the epochs so far.
        committed: Epoch of the newest checkpoint, 0 before the first.
    """

    def __init__(
        self,
        store: Store,
        lease: Lease,
        trial_id: str,
        checkpointing: Checkpointing,
        schema: pa.Schema = tables.METRICS,
    ) -> None:
        self._store, self._lease, self._trial_id = store, lease, trial_id
        self._checkpointing, self._schema = checkpointing, schema
        self.rows: list[Row] = []
        self._note_commit(0)

    def resume(
        self, restore: Callable[[Checkpoint], None], warn: Callable[[str], None], *, last: int
    ) -> None:
        """Return to the newest sound checkpoint, or to nothing; see the function `resume`."""
        self.rows = resume(self._store, self._trial_id, restore, warn, last=last)
        self._note_commit(len(self.rows))
        self._publish()

    def add(self, row: Row) -> None:
        """Publish one more epoch."""
        self.rows.append(row)
        self._publish()

    @property
    def due(self) -> bool:
        """Whether it is time for a checkpoint, which must have something new."""
        if len(self.rows) == self.committed:
            return False
        waited = time.monotonic() - self._clock >= self._checkpointing.every
        return waited or len(self.rows) in self._checkpointing.at

    def commit(self, state: Callable[[], dict[str, Tensor]], epoch: int | None = None) -> None:
        """Save a checkpoint of a state, unless the last one has all of its rows already.

        It is the state after an epoch, by default the last one.
        """
        epoch = len(self.rows) if epoch is None else epoch
        if epoch > self.committed:
            kept = epoch in self._checkpointing.at
            newest = Checkpoint(epoch, self.rows[:epoch], state(), kept)
            save(self._store, self._lease, self._trial_id, newest)
            self._note_commit(epoch)
            self._prune(_RUNNING)

    def close(self) -> None:
        """Keep the last checkpoint and those named, and publish the rows as the final ones."""
        self._prune(1)
        self._publish(final=True)

    def _note_commit(self, epoch: int) -> None:
        self.committed, self._clock = epoch, time.monotonic()

    def _prune(self, keep_last: int) -> None:
        """Delete old checkpoints, and files that were never committed.

        The newest `keep_last`, those named, and those saved as kept stay. Checkpoints after the
        newest row were found damaged and are deleted.
        """
        store, trial_id = self._store, self._trial_id
        sound = [epoch for epoch in epochs(store, trial_id) if epoch <= len(self.rows)]
        staying = {*sound[-keep_last:], *(self._checkpointing.at & set(sound))}
        staying |= {e for e in sound if e not in staying and _is_kept(store, trial_id, e)}
        for epoch, key in _parts(store, trial_id):
            if epoch not in staying:
                store.delete(key, lease=self._lease)

    def _publish(self, *, final: bool = False) -> None:
        data = tables.to_parquet(self.rows, self._schema)
        self._store.put(layout.metrics(self._trial_id), data, lease=self._lease, final=final)


def save(store: Store, lease: Lease, trial_id: str, checkpoint: Checkpoint) -> None:
    """Commit a checkpoint; it survives a power cut from here on.

    Raises:
        Superseded: The lease is lost; nothing was committed.
        StoreError: It could not be written; older checkpoints are as they were.
    """
    data = safetensors.torch.save(checkpoint.tensors)
    payload = {
        "trial_id": trial_id,
        "epoch": checkpoint.epoch,
        "kept": checkpoint.kept,
        "tensors_bytes": len(data),
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
        "rows": [_timed(row, datetime.isoformat) for row in checkpoint.rows],
    }
    digest = hashlib.sha256(_canonical(payload)).hexdigest()
    state = json.dumps({"sha256": digest, "payload": payload})
    # The JSON commits, so what it names must be durable before it.
    tensors, commit = (part(trial_id, checkpoint.epoch) for part in (layout.tensors, layout.state))
    store.put(tensors, data, lease=lease, durable=True)
    store.put(commit, state.encode(), lease=lease, durable=True)


def resume(
    store: Store,
    trial_id: str,
    restore: Callable[[Checkpoint], None],
    warn: Callable[[str], None],
    *,
    last: int,
) -> list[Row]:
    """Restore the newest sound checkpoint up to an epoch and return its rows, or no rows.

    `restore` raises `CorruptData` if a checkpoint's tensors do not fit; `warn` is called with a
    message for each that is passed over.
    """
    for epoch in reversed(epochs(store, trial_id)):
        try:
            if epoch > last:  # whose file could be of any size
                where = layout.state(trial_id, epoch)
                raise CorruptData(f"the trial has {last} epochs", where=where)
            found = load(store, trial_id, epoch)
            restore(found)
        except (CorruptData, MissingKey) as error:
            # A store that can't be read is another matter: its error ends the attempt.
            warn(f"checkpoint of epoch {epoch} is damaged, going back to the one before: {error}")
        else:
            return found.rows
    return []


def load(store: Store, trial_id: str, epoch: int) -> Checkpoint:
    """Return one checkpoint, its hashes verified before anything is parsed.

    Raises:
        MissingKey: There is no such checkpoint.
        CorruptData: A file is larger than it can be, a hash does not hold, or the content is not
            this trial's.
    """
    payload = _payload(store, trial_id, epoch)
    where = layout.state(trial_id, epoch)
    try:
        rows = [
            _timed(row, datetime.fromisoformat) | {n: None for n in _NULLABLE if n not in row}
            for row in payload["rows"]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptData("its rows are not those of epochs", where=where) from error
    if len(rows) != epoch:
        raise CorruptData(f"it has {len(rows)} rows, not one an epoch", where=where)
    where = layout.tensors(trial_id, epoch)
    data = store.get(where, most=min(payload["tensors_bytes"], LARGEST_TENSORS))
    if hashlib.sha256(data).hexdigest() != payload["tensors_sha256"]:
        raise CorruptData("its SHA-256 does not hold", where=where)
    try:
        tensors = safetensors.torch.load(data)
    except (SafetensorError, KeyError, ValueError) as error:  # a type that torch lacks is a key
        raise CorruptData(f"not safetensors that torch can hold: {error}", where=where) from error
    return Checkpoint(epoch, rows, tensors, payload["kept"], payload["tensors_sha256"])


def digest(store: Store, trial_id: str, epoch: int) -> str:
    """Return the SHA-256 of a checkpoint's tensors, which are not read; raises as `load` does."""
    return _payload(store, trial_id, epoch)["tensors_sha256"]


def epochs(store: Store, trial_id: str) -> list[int]:
    """Return the epochs with a committed checkpoint, ascending."""
    parts = _parts(store, trial_id)
    return sorted(epoch for epoch, key in parts if key == layout.state(trial_id, epoch))


def committed_epochs(store: Store) -> dict[str, int]:
    """Return the epoch of the newest checkpoint of each trial that has one."""
    found: dict[str, int] = {}
    for key in store.list(layout.CHECKPOINTS):
        part = _PART.fullmatch(key)
        if part is not None and part[2] == "state.json":
            trial_id = key.split("/")[1]
            found[trial_id] = max(int(part[1]), found.get(trial_id, 0))
    return found


def _parts(store: Store, trial_id: str) -> list[tuple[int, str]]:
    """Return every file of a checkpoint with its epoch, each state before its tensors."""
    # Pruning relies on the order: cut off in between, it leaves tensors that are no checkpoint.
    keys = store.list(layout.checkpoints(trial_id))
    return [(int(found[1]), key) for key in keys if (found := _PART.fullmatch(key))]


def _payload(store: Store, trial_id: str, epoch: int) -> dict[str, Any]:
    where = layout.state(trial_id, epoch)
    # Parsed before its hash can be checked, hostile JSON takes thirty times its size.
    text = store.get(where, most=(epoch + 1) * LARGEST_ROW)
    try:
        state = parse_json(text)
        payload, expected = state["payload"], state["sha256"]
        sound = hashlib.sha256(_canonical(payload)).hexdigest() == expected
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData("not a checkpoint's JSON", where=where) from error
    if not sound:
        raise CorruptData("its SHA-256 does not hold", where=where)
    if not isinstance(payload, dict):
        raise CorruptData("not a checkpoint's JSON", where=where)
    for name, kind in _FIELDS.items():
        if type(payload.get(name)) is not kind:  # isinstance would take True for an epoch
            raise CorruptData(f"its {name} is no {kind.__name__}", where=where)
    if (payload["trial_id"], payload["epoch"]) != (trial_id, epoch):
        raise CorruptData("it belongs to another trial or epoch", where=where)
    return payload


def _timed(row: Row, convert: Callable[[Any], Any]) -> Row:
    return row | {"finished_at": convert(row["finished_at"])}


def _is_kept(store: Store, trial_id: str, epoch: int) -> bool:
    """Return whether a checkpoint was saved as kept; a damaged one was not."""
    try:
        return _payload(store, trial_id, epoch)["kept"]
    except (CorruptData, MissingKey):
        return False


def _canonical(payload: Any) -> bytes:
    return json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
