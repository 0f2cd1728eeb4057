"""Checkpoints: what was committed is restored to the last bit, damage is noticed, old ones go."""

import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from small_checkpoints import ID, example, resume
from small_trials import bits

from results_schema import layout, tables
from results_schema.errors import CorruptData, MissingKey, Superseded
from results_schema.lease import Lease
from results_schema.store import LocalStore
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint, Checkpointing, History

PARTS = pytest.mark.parametrize("part", [layout.state, layout.tensors])


def save(store: LocalStore, lease: Lease, *epochs: int) -> None:
    for epoch in epochs:
        checkpoint.save(store, lease, ID, example(epoch))


@pytest.mark.parametrize("value", [math.nan, -math.inf, -0.0, 5e-324, 0.1])
def test_what_was_saved_is_loaded_to_the_bit(store: LocalStore, lease: Lease, value: float):
    saved = example(3)
    saved.rows[0]["train_loss"] = value
    saved.tensors["one"] = torch.tensor(value)
    checkpoint.save(store, lease, ID, saved)
    loaded = checkpoint.load(store, ID, 3)
    assert repr(loaded.rows) == repr(saved.rows)
    assert (loaded.epoch, loaded.kept) == (3, False)
    assert loaded.tensors.keys() == saved.tensors.keys()
    for name, tensor in saved.tensors.items():
        assert torch.equal(bits(loaded.tensors[name]), bits(tensor))
    assert checkpoint.digest(store, ID, 3) == loaded.digest != ""
    state = json.loads(store.get(layout.state(ID, 3)))
    assert [row["epoch"] for row in state["payload"]["rows"]] == [1, 2, 3], "for other programs"


def test_resuming_takes_the_newest_as_numbers_are_ordered(store: LocalStore, lease: Lease):
    assert resume(store) == (0, [])
    save(store, lease, 2, 11, 9)
    restored: list[Checkpoint] = []
    rows = checkpoint.resume(store, ID, restored.append, pytest.fail, last=11)
    assert (len(rows), len(restored)) == (11, 1)
    assert restored[0].tensors["weight"].shape == (440,)
    store.put(layout.state(ID, 100_000), b"{}")
    assert checkpoint.epochs(store, ID) == [2, 9, 11, 100_000]


def test_a_checkpoint_beyond_the_trials_end_is_not_read(store: LocalStore, lease: Lease):
    save(store, lease, 2, 4)
    warned: list[str] = []
    assert len(checkpoint.resume(store, ID, lambda _: None, warned.append, last=3)) == 2
    assert "the trial has 3 epochs" in warned[0]


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


@PARTS
def test_a_file_of_a_terabyte_is_passed_over_unread(store, lease, part):
    save(store, lease, 4, 5)
    key = part(ID, 5)
    os.truncate(store.root / key, 10**12)  # sparse: reading it would need the memory all the same
    count, [warning] = resume(store)
    assert count == 4
    assert "it has 1000000000000 bytes" in warning and key in warning


def test_the_size_that_a_state_may_have_grows_with_its_epoch(store: LocalStore, lease: Lease):
    save(store, lease, 1)
    key = layout.state(ID, 1)
    for spaces, sound in (
        (2 * checkpoint.LARGEST_ROW, True),
        (2 * checkpoint.LARGEST_ROW + 1, False),
    ):
        store.put(key, store.get(key).rstrip().ljust(spaces))
        assert (resume(store)[0] == 1) == sound


@PARTS
def test_no_flipped_bit_passes(store: LocalStore, lease: Lease, part: Callable[[str, int], str]):
    save(store, lease, 1)
    whole = store.get(part(ID, 1))
    for at in range(0, len(whole), 7):
        store.put(part(ID, 1), flip(whole, at))
        try:
            loaded = checkpoint.load(store, ID, 1)
        except CorruptData:
            continue
        # JSON may write a thing in two ways, as 1E5 and 1e5: then nothing was lost.
        assert part is layout.state
        assert loaded.rows == example(1).rows


def test_half_a_checkpoint_is_none(store: LocalStore, lease: Lease):
    save(store, lease, 4, 5)
    store.put(layout.tensors(ID, 6), b"half a commit")
    store.delete(layout.tensors(ID, 5))
    count, [warning] = resume(store)
    assert (count, "nothing is stored here" in warning) == (4, True)
    with pytest.raises(MissingKey, match=r"state\.json: nothing is stored here"):
        checkpoint.load(store, ID, 6)


def test_tensors_that_do_not_fit_the_network_are_passed_over(store: LocalStore, lease: Lease):
    save(store, lease, 4, 5)

    def restore(found: Checkpoint) -> None:
        if found.epoch == 5:
            raise CorruptData("another network's")

    warned: list[str] = []
    assert len(checkpoint.resume(store, ID, restore, warned.append, last=9)) == 4
    assert "another network's" in warned[0]


def test_foreign_files_beside_the_checkpoints_do_not_matter(store: LocalStore, lease: Lease):
    save(store, lease, 4)
    folder = layout.checkpoints(ID)
    for name in ("epoch-00009.bak/state.json", "epoch-x/state.json", "notes.txt", "state.json"):
        store.put(folder + name, b"mine")
    assert checkpoint.epochs(store, ID) == [4]
    assert resume(store) == (4, [])


@pytest.mark.parametrize("writes", [0, 1], ids=["before it", "between its files"])
def test_a_fenced_worker_commits_nothing(store, lease, monkeypatch, writes):
    save(store, lease, 1)
    put, left = store.put, iter(range(writes))

    def put_and_lose(key: str, data: bytes, **options: Any) -> None:
        if next(left, None) is None:
            store.leases.fence(ID, lease.token)
        put(key, data, **options)

    monkeypatch.setattr(store, "put", put_and_lose)
    with pytest.raises(Superseded):
        save(store, lease, 2)
    assert checkpoint.epochs(store, ID) == [1]


def committed(store: LocalStore, lease: Lease, epoch: int, *at: int) -> History:
    """Commits an epoch over whatever is there, as a running trial does; `at` are named epochs."""
    history = History(store, lease, ID, Checkpointing(at=frozenset(at)))
    history.rows = example(epoch).rows
    history.commit(lambda: example(epoch).tensors)
    return history


def test_rows_of_an_earlier_release_get_the_columns_that_they_lack(store, lease):
    saved = example(2)
    for row in saved.rows:
        del row["val_loss"], row["val_accuracy"]
    checkpoint.save(store, lease, ID, saved)
    rows = checkpoint.load(store, ID, 2).rows
    assert [(row["val_loss"], row["train_loss"]) for row in rows] == [
        (None, row["train_loss"]) for row in saved.rows
    ]


def test_the_newest_two_the_named_and_what_was_saved_as_kept_stay(store: LocalStore, lease: Lease):
    for epoch in range(1, 8):
        checkpoint.save(store, lease, ID, replace(example(epoch), kept=epoch in (3, 4)))
    damaged = layout.state(ID, 4)
    store.put(damaged, store.get(damaged).replace(b'"kept": true', b'"kept": "yes"'))
    history = committed(store, lease, 8, 2, 99)
    assert checkpoint.epochs(store, ID) == [2, 3, 7, 8]
    history.close()
    assert checkpoint.epochs(store, ID) == [2, 3, 8]
    assert [checkpoint.load(store, ID, epoch).kept for epoch in (3, 8)] == [True, False]
    folders = {path.name for path in (store.root / layout.checkpoints(ID)).iterdir()}
    assert folders == {"epoch-00002", "epoch-00003", "epoch-00008"}
    committed(store, lease, 9, 9)
    assert checkpoint.load(store, ID, 9).kept, "as it is named"


def test_damaged_checkpoints_ahead_and_what_was_never_committed_go(store: LocalStore, lease: Lease):
    """A trial that had to start afresh must not lose its new checkpoints to old damaged ones."""
    save(store, lease, 8, 9)
    store.put(layout.tensors(ID, 2), b"cut off before its state")
    committed(store, lease, 1, 9)
    assert checkpoint.epochs(store, ID) == [1]
    assert not store.has(layout.tensors(ID, 2))


def test_a_checkpoint_is_due_after_some_seconds_or_at_a_named_epoch_if_there_is_something_new(
    store: LocalStore, lease: Lease, monkeypatch: pytest.MonkeyPatch
):
    now = SimpleNamespace(seconds=100.0)
    clock = SimpleNamespace(monotonic=lambda: now.seconds)
    monkeypatch.setattr(checkpoint, "time", clock)
    history = History(store, lease, ID, Checkpointing(every=25, at=frozenset({3})))
    now.seconds = 125.0
    assert not history.due, "there is no row"
    due = []
    for epoch in (1, 2, 3, 4):
        history.add(example(epoch).rows[-1])
        due.append(history.due)
        if history.due:
            history.commit(lambda: example(1).tensors)
            assert not history.due
            history.commit(pytest.fail)
        now.seconds += 12.5
    assert due == [True, False, True, False]
    assert Checkpointing() == Checkpointing(every=60.0, at=frozenset())


def test_a_resumed_history_publishes_its_rows_and_has_nothing_to_commit(store, lease):
    save(store, lease, 2)
    history = History(store, lease, ID, Checkpointing(every=0.0))
    history.resume(lambda _: None, pytest.fail, last=3)
    assert history.rows == example(2).rows
    assert not history.due
    key = layout.metrics(ID)
    assert tables.from_parquet(store.get(key), tables.METRICS, key)["epoch"].to_pylist() == [1, 2]
    history.add(example(3).rows[-1])
    assert history.due
