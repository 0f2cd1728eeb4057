"""Checkpoints: the commit of a trial's progress.

A checkpoint is a safetensors file and a JSON file. The JSON carries every metrics row so far and
the SHA-256 of both; it is written second, and its presence is the commit. Nothing is unpickled.
Restoring takes the newest checkpoint whose hashes hold and falls back to the one before it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey
from results_schema.lease import Lease
from results_schema.store import Store

KEPT = 2
"""Checkpoints kept while a trial trains, besides those kept by name."""


@dataclass(frozen=True)
class Checkpoint:
    """What a trial goes on from: the epochs done, their rows, and the engine's tensors."""

    epoch: int
    rows: list[dict[str, Any]]
    tensors: dict[str, Tensor]


def save(store: Store, lease: Lease, trial_id: str, checkpoint: Checkpoint) -> None:
    """Commits a checkpoint; it survives a power cut from here on.

    Raises:
        Superseded: The lease is lost; nothing was committed.
        StoreError: It could not be written; older checkpoints are as they were.
    """
    data = safetensors.torch.save(checkpoint.tensors)
    payload = {
        "trial_id": trial_id,
        "epoch": checkpoint.epoch,
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
        "rows": [row | {"finished_at": row["finished_at"].isoformat()} for row in checkpoint.rows],
    }
    text = _canonical(payload)
    state = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "payload": payload})
    epoch = checkpoint.epoch
    store.put(layout.tensors(trial_id, epoch), data, lease=lease, durable=True)
    store.put(layout.state(trial_id, epoch), state.encode(), lease=lease, durable=True)


def newest(store: Store, trial_id: str, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest sound checkpoint, or None if there is none.

    Args:
        store: Where to look.
        trial_id: Of which trial.
        warn: Told of each damaged checkpoint that is passed over.
    """
    for epoch in sorted(epochs(store, trial_id), reverse=True):
        try:
            return load(store, trial_id, epoch)
        except (CorruptData, MissingKey) as error:
            warn(f"checkpoint of epoch {epoch} is damaged, going back to the one before: {error}")
    return None


def load(store: Store, trial_id: str, epoch: int) -> Checkpoint:
    """One checkpoint, its hashes verified before anything is parsed.

    Raises:
        MissingKey: There is no such checkpoint.
        CorruptData: A hash does not hold, or the content is not this trial's.
    """
    where = layout.state(trial_id, epoch)
    try:
        state = json.loads(store.get(where))
        payload, digest = state["payload"], state["sha256"]
        sound = hashlib.sha256(_canonical(payload).encode()).hexdigest() == digest
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData("not a checkpoint's JSON", where=where) from error
    if not sound:
        raise CorruptData("its SHA-256 does not hold", where=where)
    if (payload["trial_id"], payload["epoch"]) != (trial_id, epoch):
        raise CorruptData("it belongs to another trial or epoch", where=where)
    data = store.get(layout.tensors(trial_id, epoch))
    if hashlib.sha256(data).hexdigest() != payload["tensors_sha256"]:
        raise CorruptData("its SHA-256 does not hold", where=layout.tensors(trial_id, epoch))
    try:
        tensors = safetensors.torch.load(data)
    except SafetensorError as error:
        raise CorruptData(str(error), where=layout.tensors(trial_id, epoch)) from error
    rows = [
        row | {"finished_at": datetime.fromisoformat(row["finished_at"])} for row in payload["rows"]
    ]
    return Checkpoint(epoch, rows, tensors)


def epochs(store: Store, trial_id: str) -> list[int]:
    """Epochs with a committed checkpoint, ascending."""
    keys = store.list(layout.checkpoints(trial_id))
    return [
        int(key.split("/")[-2].removeprefix("epoch-")) for key in keys if key.endswith("state.json")
    ]


def prune(store: Store, trial_id: str, *, keep: Collection[int], newest_kept: int) -> None:
    """Deletes all checkpoints but the newest few and those named."""
    done = epochs(store, trial_id)
    for epoch in done[:-newest_kept]:
        if epoch not in keep:
            store.delete(layout.state(trial_id, epoch))
            store.delete(layout.tensors(trial_id, epoch))


def _canonical(payload: dict[str, Any]) -> str:
    """NaN and infinity are written as Python's JSON does: a diverged trial's rows hold them."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"))
