"""A file system that refuses any one operation, or all from some moment on, harms no store."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import pytest
from os_calls import Call, watched
from small_trials import COMMIT_ALL, assert_same, few_digits, small_spec
from soundness import assert_sound, litter

from results_schema.errors import StoreError
from results_schema.folder.store import FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import LocalStore, open_store
from workers.training.attempt import Outcome
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")

SPEC = small_spec(epochs=2)
GROWING = ("create", "write", "mkdir", "fsync")
"""What a full disk refuses."""
KINDS = {
    "ENOSPC once": (errno.ENOSPC, False),
    "EIO once": (errno.EIO, False),
    "ENOSPC from then on": (errno.ENOSPC, True),
}


def run(store: LocalStore) -> Outcome:
    return train(SPEC, store, device="cpu", checkpointing=COMMIT_ALL)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStore, list[Call]]:
    """The store of an undisturbed run, and every call that it made, in order."""
    seen: list[Call] = []
    root = tmp_path_factory.mktemp("whole") / "results"
    with few_digits(), watched(root, seen.append):
        store = open_store(root)
        assert run(store).status == "done"
    assert {call.name for call in seen} >= {
        *("create", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"),
        *("open", "read", "scandir", "stat"),
    }
    return store, seen


class Refusal:
    """Fails the n-th call, or from it on, after half a write, all that would take space."""

    def __init__(self, number: int, code: int, on: bool) -> None:
        self.number, self.code, self.on = number, code, on
        self.seen = self.refused = 0

    def __call__(self, call: Call) -> None:
        self.seen += 1
        if self.seen != self.number and not (
            self.on and self.seen > self.number and call.name in GROWING
        ):
            return
        self.refused += 1
        if self.on:
            call.half()
        raise OSError(self.code, os.strerror(self.code), call.path)


def check(root: Path, whole: LocalStore, refusal: Refusal) -> None:
    """Disturbs a run, which reports it or does without the call, and lets it resume."""
    came: Outcome | StoreError
    with watched(root, refusal):
        try:
            came = run(open_store(root))
        except StoreError as error:
            came = error
    assert refusal.refused, "nothing was refused"
    if isinstance(came, Outcome) and came.status == "failed":
        assert came.kind == ("full" if refusal.code == errno.ENOSPC else "store"), came
        assert came.reason
    assert_sound(LocalStore(root), whole)
    # A process whose lease could not be removed still lives here, but beats no more: this observer
    # has watched it for long enough at each look.
    now, store = itertools.count(0, EXPIRY), open_store(root)
    store.leases = FolderLeases(root, lambda: next(now))
    store.leases.free(SPEC.trial_id)
    assert run(store).status == "done"
    assert_same(store, whole, SPEC)
    assert {name for name in litter(store, whole) if not name.startswith("leases/")} == set()


PARTS = [pytest.param((part, 8), marks=pytest.mark.long, id=f"eighth{part}") for part in range(8)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", [pytest.param(None, id="three"), *PARTS])
@pytest.mark.timeout(900)
def test_calls_refused_in_turn(
    tmp_path: Path,
    whole: tuple[LocalStore, list[Call]],
    kind: str,
    part: tuple[int, int] | None,
):
    """Each call in the long suite, or each that a full disk would refuse; else three of them."""
    store, calls = whole
    code, on = KINDS[kind]
    numbers = [n for n, call in enumerate(calls, start=1) if not on or call.name in GROWING]
    first, step = part or (5, len(numbers) // 3)
    for number in numbers[first::step]:
        try:
            check(tmp_path / str(number), store, Refusal(number, code, on))
        except BaseException as error:
            error.add_note(f"call {number} was refused: {calls[number - 1]}")
            raise
