"""Pruning: which checkpoints stay, and that a trial's only good one is never among the deleted."""

import hashlib
import json
from dataclasses import replace

from small_checkpoints import ID, example, resume

from results_schema import layout
from results_schema.lease import Lease
from results_schema.store import LocalStore
from workers.training import checkpoint


def test_pruning_keeps_the_newest_and_the_named(store: LocalStore, lease: Lease):
    for epoch in range(1, 8):
        checkpoint.save(store, lease, ID, example(epoch))
    checkpoint.prune(store, lease, ID, newest=7, keep={2, 99}, kept=2)
    assert checkpoint.epochs(store, ID) == [2, 6, 7]
    checkpoint.prune(store, lease, ID, newest=7, keep={2}, kept=1)
    assert checkpoint.epochs(store, ID) == [2, 7]
    folders = {path.name for path in (store.root / layout.checkpoints(ID)).iterdir()}
    assert folders == {"epoch-00002", "epoch-00007"}


def test_pruning_keeps_what_was_saved_to_be_kept(store: LocalStore, lease: Lease):
    for epoch in range(1, 5):
        checkpoint.save(store, lease, ID, replace(example(epoch), kept=epoch in (1, 2)))
    key = layout.state(ID, 2)
    store.put(key, store.get(key).replace(b'"kept": true', b'"kept": "yes"'))
    for kept in (2, 1):
        checkpoint.prune(store, lease, ID, newest=4, keep=(), kept=kept)
    assert checkpoint.epochs(store, ID) == [1, 4], "2 is damaged"
    assert checkpoint.load(store, ID, 1).kept
    assert not checkpoint.load(store, ID, 4).kept


def test_a_checkpoint_of_before_there_was_such_a_mark_is_loaded_and_pruned(
    store: LocalStore, lease: Lease
):
    for epoch in (1, 2):
        checkpoint.save(store, lease, ID, example(epoch))
        key = layout.state(ID, epoch)
        payload = json.loads(store.get(key))["payload"]
        del payload["kept"]
        digest = hashlib.sha256(checkpoint._canonical(payload).encode()).hexdigest()
        store.put(key, json.dumps({"sha256": digest, "payload": payload}).encode())
    assert resume(store) == (2, [])
    checkpoint.prune(store, lease, ID, newest=2, keep=(), kept=1)
    assert checkpoint.epochs(store, ID) == [2]


def test_pruning_removes_damaged_checkpoints_ahead_and_not_the_one_just_made(
    store: LocalStore, lease: Lease
):
    """A trial that had to start afresh must not lose its new checkpoints to old damaged ones."""
    for epoch in (1, 8, 9):
        checkpoint.save(store, lease, ID, example(epoch))
    checkpoint.prune(store, lease, ID, newest=1, keep={9}, kept=2)
    assert checkpoint.epochs(store, ID) == [1]


def test_pruning_removes_what_was_never_committed(store: LocalStore, lease: Lease):
    store.put(layout.tensors(ID, 2), b"cut off before its state")
    checkpoint.save(store, lease, ID, example(3))
    checkpoint.prune(store, lease, ID, newest=3, keep=(), kept=2)
    assert not store.has(layout.tensors(ID, 2))
