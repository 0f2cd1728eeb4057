"""Checkpoints: what was committed is restored to the last bit, damage is noticed, old ones go."""

import json
import math
import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_checkpoints import ID, example, resume
from small_trials import bits

from results_schema import layout
from results_schema.errors import CorruptData, MissingKey, Superseded
from results_schema.lease import Lease
from results_schema.store import LocalStore
from workers.training import checkpoint
from workers.training.checkpoint import Checkpoint


def test_what_was_saved_is_loaded(store: LocalStore, lease: Lease):
    checkpoint.save(store, lease, ID, example(3))
    loaded = checkpoint.load(store, ID, 3)
    assert loaded.rows == example(3).rows
    assert loaded.epoch == 3
    assert torch.equal(loaded.tensors["weight"], example(3).tensors["weight"])


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -0.0, 5e-324, 0.1])
def test_any_number_survives_in_rows_and_tensors(store: LocalStore, lease: Lease, value: float):
    saved = example(1)
    saved.rows[0]["train_loss"] = value
    saved.tensors["one"] = torch.tensor(value)
    checkpoint.save(store, lease, ID, saved)
    loaded = checkpoint.load(store, ID, 1)
    assert repr(loaded.rows[0]["train_loss"]) == repr(value)
    assert torch.equal(bits(loaded.tensors["one"]), bits(saved.tensors["one"]))


def test_resuming_takes_the_newest_and_restores_its_tensors(store: LocalStore, lease: Lease):
    for epoch in (2, 11, 9):
        checkpoint.save(store, lease, ID, example(epoch))
    restored = []
    rows = checkpoint.resume(store, ID, restored.append, pytest.fail, last=11)
    assert len(rows) == 11
    [found] = restored
    assert found.tensors["weight"].shape == (440,)


def test_without_a_checkpoint_a_trial_starts_afresh(store: LocalStore):
    assert resume(store) == (0, [])


def flip(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :]


def of_another_trial(data: bytes) -> bytes:
    return data.replace(ID.encode(), b"digits-w1d2-lr0.1-s1-0123456789")


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "a bit near the start": lambda data: flip(data, 3),
    "a bit in the middle": lambda data: flip(data, len(data) // 2),
    "a bit near the end": lambda data: flip(data, len(data) - 3),
    "the end cut off": lambda data: data[:-20],
    "cut in half": lambda data: data[: len(data) // 2],
    "empty": lambda data: b"",
    "zeros": lambda data: bytes(len(data)),
    "something behind it": lambda data: data + b"\0",
    "other JSON": lambda data: b'{"sha256": "0", "payload": {}}',
    "a list": lambda data: b"[1, 2]",
    "a number": lambda data: b"7",
    "too deep": lambda data: b"[" * 200_000,
    "no text": lambda data: b"\xff\xfe" * 50,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("part", ["state", "tensors"])
def test_a_damaged_checkpoint_is_passed_over_and_the_log_says_so(
    store: LocalStore, lease: Lease, part: str, damage: str
):
    for epoch in (4, 5):
        checkpoint.save(store, lease, ID, example(epoch))
    key = {"state": layout.state, "tensors": layout.tensors}[part](ID, 5)
    store.put(key, DAMAGES[damage](store.get(key)))
    count, [told] = resume(store)
    assert count == 4
    assert "epoch 5" in told
    assert key in told


@pytest.mark.parametrize("part", [layout.state, layout.tensors])
def test_a_file_of_a_terabyte_is_passed_over_unread(
    store: LocalStore, lease: Lease, part: Callable[[str, int], str]
):
    for epoch in (4, 5):
        checkpoint.save(store, lease, ID, example(epoch))
    key = part(ID, 5)
    os.truncate(store.root / key, 10**12)  # sparse: reading it would need the memory all the same
    count, [told] = resume(store)
    assert count == 4
    assert "it has 1000000000000 bytes" in told
    assert key in told


@pytest.mark.parametrize("part", [layout.state, layout.tensors])
def test_no_flipped_bit_passes(store: LocalStore, lease: Lease, part: Callable[[str, int], str]):
    checkpoint.save(store, lease, ID, example(1))
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


def test_a_checkpoint_without_its_tensors_is_passed_over(store: LocalStore, lease: Lease):
    for epoch in (4, 5):
        checkpoint.save(store, lease, ID, example(epoch))
    store.delete(layout.tensors(ID, 5))
    count, [told] = resume(store)
    assert (count, "nothing is stored here" in told) == (4, True)


def test_tensors_without_their_state_were_never_committed(store: LocalStore, lease: Lease):
    checkpoint.save(store, lease, ID, example(4))
    store.put(layout.tensors(ID, 5), b"half a commit")
    assert resume(store) == (4, [])


@pytest.mark.parametrize("forge", [of_another_trial, lambda data: data.replace(b"4", b"5")])
def test_a_forged_or_foreign_state_is_passed_over(
    store: LocalStore, lease: Lease, forge: Callable[[bytes], bytes]
):
    checkpoint.save(store, lease, ID, example(4))
    store.put(layout.state(ID, 5), forge(store.get(layout.state(ID, 4))))
    store.put(layout.tensors(ID, 5), store.get(layout.tensors(ID, 4)))
    count, [_] = resume(store)
    assert count == 4


def test_another_trials_sound_checkpoint_is_passed_over(store: LocalStore, lease: Lease):
    other = "digits-w1d2-lr0.1-s1-9876543210"
    checkpoint.save(store, lease, other, example(5))
    for part in (layout.state, layout.tensors):
        store.put(part(ID, 5), store.get(part(other, 5)))
    count, [told] = resume(store)
    assert (count, "another trial" in told) == (0, True)


def test_tensors_that_do_not_fit_the_network_are_passed_over(store: LocalStore, lease: Lease):
    for epoch in (4, 5):
        checkpoint.save(store, lease, ID, example(epoch))

    def restore(found: Checkpoint) -> None:
        if found.tensors["weight"].shape != (160,):
            raise CorruptData("another network's")

    told: list[str] = []
    assert len(checkpoint.resume(store, ID, restore, told.append, last=9)) == 4
    assert "another network's" in told[0]


def test_all_damaged_means_starting_afresh(store: LocalStore, lease: Lease):
    for epoch in (4, 5):
        checkpoint.save(store, lease, ID, example(epoch))
        store.put(layout.state(ID, epoch), b"")
    count, told = resume(store)
    assert (count, len(told)) == (0, 2)


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_is_ever_unpickled(store: LocalStore, lease: Lease, tmp_path: Path):
    checkpoint.save(store, lease, ID, example(5))
    sprung = tmp_path / "sprung"
    for part in (layout.tensors, layout.state):
        store.put(part(ID, 5), pickle.dumps(Trap(sprung)))
        assert resume(store)[0] == 0
    assert not sprung.exists()


def test_foreign_files_beside_the_checkpoints_do_not_matter(store: LocalStore, lease: Lease):
    checkpoint.save(store, lease, ID, example(4))
    folder = layout.checkpoints(ID)
    for name in ("epoch-00009.bak/state.json", "epoch-x/state.json", "notes.txt", "state.json"):
        store.put(folder + name, b"mine")
    assert checkpoint.epochs(store, ID) == [4]
    assert resume(store) == (4, [])


def test_epochs_are_ordered_as_numbers(store: LocalStore):
    for epoch in (100_000, 99_999, 2):
        store.put(layout.state(ID, epoch), b"{}")
    assert checkpoint.epochs(store, ID) == [2, 99_999, 100_000]


def test_a_fenced_worker_commits_nothing(store: LocalStore, lease: Lease):
    checkpoint.save(store, lease, ID, example(1))
    store.leases.fence(ID, lease.token)
    with pytest.raises(Superseded):
        checkpoint.save(store, lease, ID, example(2))
    assert checkpoint.epochs(store, ID) == [1]


def test_a_worker_fenced_between_tensors_and_state_commits_nothing(
    store: LocalStore, lease: Lease, monkeypatch: pytest.MonkeyPatch
):
    put = store.put

    def put_and_lose(key: str, data: bytes, **options: Any) -> None:
        put(key, data, **options)
        store.leases.fence(ID, lease.token)

    monkeypatch.setattr(store, "put", put_and_lose)
    with pytest.raises(Superseded):
        checkpoint.save(store, lease, ID, example(2))
    assert checkpoint.epochs(store, ID) == []


def test_a_missing_checkpoint_is_said_to_be_missing(store: LocalStore):
    with pytest.raises(MissingKey, match=r"state\.json: nothing is stored here"):
        checkpoint.load(store, ID, 3)


def test_the_state_is_json_that_other_programs_read(store: LocalStore, lease: Lease):
    checkpoint.save(store, lease, ID, example(2))
    state = json.loads(store.get(layout.state(ID, 2)))
    assert [row["epoch"] for row in state["payload"]["rows"]] == [1, 2]


def test_pruning_keeps_the_newest_and_the_named(store: LocalStore, lease: Lease):
    for epoch in range(1, 8):
        checkpoint.save(store, lease, ID, example(epoch))
    checkpoint.prune(store, lease, ID, newest=7, keep={2, 99}, keep_last=2)
    assert checkpoint.epochs(store, ID) == [2, 6, 7]
    checkpoint.prune(store, lease, ID, newest=7, keep={2}, keep_last=1)
    assert checkpoint.epochs(store, ID) == [2, 7]
    folders = {path.name for path in (store.root / layout.checkpoints(ID)).iterdir()}
    assert folders == {"epoch-00002", "epoch-00007"}


def test_pruning_keeps_what_was_saved_to_be_kept(store: LocalStore, lease: Lease):
    for epoch in range(1, 5):
        checkpoint.save(store, lease, ID, replace(example(epoch), kept=epoch in (1, 2)))
    key = layout.state(ID, 2)
    store.put(key, store.get(key).replace(b'"kept": true', b'"kept": "yes"'))
    for kept in (2, 1):
        checkpoint.prune(store, lease, ID, newest=4, keep=(), keep_last=kept)
    assert checkpoint.epochs(store, ID) == [1, 4], "2 is damaged"
    assert checkpoint.load(store, ID, 1).kept
    assert not checkpoint.load(store, ID, 4).kept


def test_pruning_removes_damaged_checkpoints_ahead_and_not_the_one_just_made(
    store: LocalStore, lease: Lease
):
    """A trial that had to start afresh must not lose its new checkpoints to old damaged ones."""
    for epoch in (1, 8, 9):
        checkpoint.save(store, lease, ID, example(epoch))
    checkpoint.prune(store, lease, ID, newest=1, keep={9}, keep_last=2)
    assert checkpoint.epochs(store, ID) == [1]


def test_pruning_removes_what_was_never_committed(store: LocalStore, lease: Lease):
    store.put(layout.tensors(ID, 2), b"cut off before its state")
    checkpoint.save(store, lease, ID, example(3))
    checkpoint.prune(store, lease, ID, newest=3, keep=(), keep_last=2)
    assert not store.has(layout.tensors(ID, 2))
