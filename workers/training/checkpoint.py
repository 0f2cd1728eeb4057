"""Checkpoints: the commit of a trial's progress.

A checkpoint is a safetensors file and a JSON file. The JSON carries every metrics row so far and
the SHA-256 of both; it is written second, and its presence is the commit. Nothing is unpickled.
Resuming takes the newest checkpoint whose hashes hold and falls back to the one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from results_schema import layout
from results_schema.canonical import parse_json
from results_schema.errors import CorruptData, MissingKey
from results_schema.lease import Lease
from results_schema.store import Store

Row = dict[str, Any]

LARGEST_TENSORS = 10_000_000_000
"""Bytes beyond which tensors are refused unread: a billion parameters."""
_ROW = 2_000
"""Bytes beyond which no epoch's row comes, by far."""

_KINDS = {
    "trial_id": str,
    "epoch": int,
    "kept": bool,
    "tensors_bytes": int,
    "tensors_sha256": str,
    "rows": list,
}
"""What a checkpoint's JSON carries."""

_PART = re.compile(r".*/epoch-(\d+)/(state\.json|tensors\.safetensors)")


@dataclass(frozen=True)
class Checkpoint:
    """What a trial goes on from: the epochs done, their rows, and the engine's tensors.

    One that is `kept` no pruning removes, whichever launch it serves. The digest is that of its
    tensors (`digest`), once they are saved.
    """

    epoch: int
    rows: list[Row]
    tensors: dict[str, Tensor]
    kept: bool = False
    digest: str = ""


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
        "kept": checkpoint.kept,
        "tensors_bytes": len(data),
        "tensors_sha256": hashlib.sha256(data).hexdigest(),
        "rows": [row | {"finished_at": row["finished_at"].isoformat()} for row in checkpoint.rows],
    }
    text = _canonical(payload)
    state = json.dumps({"sha256": hashlib.sha256(text.encode()).hexdigest(), "payload": payload})
    epoch = checkpoint.epoch
    store.put(layout.tensors(trial_id, epoch), data, lease=lease, durable=True)
    store.put(layout.state(trial_id, epoch), state.encode(), lease=lease, durable=True)


def resume(
    store: Store,
    trial_id: str,
    restore: Callable[[dict[str, Tensor]], None],
    warn: Callable[[str], None],
    *,
    last: int,
) -> list[Row]:
    """Restores the newest sound checkpoint and returns its rows: none if there is no such.

    Args:
        store: Where to look.
        trial_id: Of which trial.
        restore: Takes its tensors, or raises `CorruptData` if they do not fit.
        warn: Told of each damaged checkpoint that is passed over.
        last: The trial's last epoch: a checkpoint of a later one is not read.
    """
    for epoch in reversed(epochs(store, trial_id)):
        try:
            if epoch > last:
                raise CorruptData(
                    f"the trial has {last} epochs", where=layout.state(trial_id, epoch)
                )
            checkpoint = load(store, trial_id, epoch)
            restore(checkpoint.tensors)
        except (CorruptData, MissingKey) as error:
            warn(f"checkpoint of epoch {epoch} is damaged, going back to the one before: {error}")
        else:
            return checkpoint.rows
    return []


def load(store: Store, trial_id: str, epoch: int) -> Checkpoint:
    """One checkpoint, its hashes verified before anything is parsed.

    Raises:
        MissingKey: There is no such checkpoint.
        CorruptData: A file is larger than it can be, a hash does not hold, or the content is not
            this trial's.
    """
    payload = _payload(store, trial_id, epoch)
    rows = _rows(payload, layout.state(trial_id, epoch))
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
    """Return the SHA-256 of a checkpoint's tensors, which are not read.

    Raises:
        MissingKey: There is no such checkpoint.
        CorruptData: What says so is damaged.
    """
    return _payload(store, trial_id, epoch)["tensors_sha256"]


def epochs(store: Store, trial_id: str) -> list[int]:
    """Epochs with a committed checkpoint, ascending."""
    parts = _parts(store, trial_id)
    return sorted(epoch for epoch, key in parts if key == layout.state(trial_id, epoch))


def prune(
    store: Store, lease: Lease, trial_id: str, *, newest: int, keep: Collection[int], kept: int
) -> None:
    """Deletes all checkpoints but some and those marked as kept, and what was never committed.

    Args:
        store: Where they are.
        lease: On the trial.
        trial_id: Of which trial.
        newest: The epoch just committed; those of later epochs were found damaged, and go.
        keep: Epochs whose checkpoints stay.
        kept: How many of the newest stay besides.

    Raises:
        Superseded: The lease is lost; nothing of a successor's was deleted.
    """
    sound = [epoch for epoch in epochs(store, trial_id) if epoch <= newest]
    staying = {*sound[-kept:], *(set(sound) & set(keep))}
    staying |= {e for e in sound if e not in staying and _marked(store, trial_id, e)}
    for epoch, key in _parts(store, trial_id):
        if epoch not in staying:
            store.delete(key, lease=lease)


def largest_state(epoch: int) -> int:
    """Return the bytes beyond which a checkpoint's JSON is refused unread, by its epoch.

    Hostile JSON of many small pieces takes thirty times its size when it is parsed, and only then
    can its hash be checked. So its size is bounded by what its rows need.
    """
    return (epoch + 1) * _ROW


def _parts(store: Store, trial_id: str) -> list[tuple[int, str]]:
    """Every file of a checkpoint with its epoch, each state before its tensors."""
    keys = store.list(layout.checkpoints(trial_id))
    return [(int(found[1]), key) for key in keys if (found := _PART.fullmatch(key))]


def _payload(store: Store, trial_id: str, epoch: int) -> dict[str, Any]:
    """What a checkpoint's JSON carries, its hash verified."""
    where = layout.state(trial_id, epoch)
    text = store.get(where, most=largest_state(epoch))
    try:
        state = parse_json(text)
        payload, digest = state["payload"], state["sha256"]
        sound = hashlib.sha256(_canonical(payload).encode()).hexdigest() == digest
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptData("not a checkpoint's JSON", where=where) from error
    if not sound:
        raise CorruptData("its SHA-256 does not hold", where=where)
    if not isinstance(payload, dict):
        raise CorruptData("not a checkpoint's JSON", where=where)
    # What was committed says how large it is, and whether it stays; releases before did not.
    payload = {"tensors_bytes": LARGEST_TENSORS, "kept": False} | payload
    for name, kind in _KINDS.items():
        if type(payload.get(name)) is not kind:
            raise CorruptData(f"its {name} is no {kind.__name__}", where=where)
    if (payload["trial_id"], payload["epoch"]) != (trial_id, epoch):
        raise CorruptData("it belongs to another trial or epoch", where=where)
    return payload


def _rows(payload: dict[str, Any], where: str) -> list[Row]:
    """One for each epoch; that the hash holds does not tell who wrote them."""
    try:
        rows = [
            row | {"finished_at": datetime.fromisoformat(row["finished_at"])}
            for row in payload["rows"]
        ]
    except (TypeError, KeyError, ValueError) as error:
        raise CorruptData("its rows are not those of epochs", where=where) from error
    if len(rows) != payload["epoch"]:
        raise CorruptData(f"it has {len(rows)} rows, not one an epoch", where=where)
    return rows


def _marked(store: Store, trial_id: str, epoch: int) -> bool:
    """Whether a checkpoint is to be kept; a damaged one is not."""
    try:
        return _payload(store, trial_id, epoch)["kept"]
    except (CorruptData, MissingKey):
        return False


def _canonical(payload: dict[str, Any]) -> str:
    """NaN and infinity are written as Python's JSON does: a diverged trial's rows hold them."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"))
