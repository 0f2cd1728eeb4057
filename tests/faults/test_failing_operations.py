"""A file system that refuses any one operation, or all from some moment on, harms no store."""

from __future__ import annotations

import errno
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from os_calls import Call, watched
from small_trials import COMMIT_ALL, assert_same, small_spec, train_on_few_digits
from soundness import assert_sound, litter

from results_schema.errors import StoreError
from results_schema.folder import FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.attempt import Outcome
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
GROWING = ("create", "write", "mkdir", "fsync")
"""What a full disk refuses."""


def run(root: Path, spec: TrialSpec) -> Outcome | StoreError:
    """A small run from nothing: the store is opened, the trial trained."""
    try:
        return train(spec, open_store(root), device="cpu", checkpointing=COMMIT_ALL)
    except StoreError as error:
        return error


@pytest.fixture(scope="module")
def spec() -> TrialSpec:
    return small_spec(epochs=2)


@pytest.fixture(scope="module")
def whole(spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = open_store(tmp_path_factory.mktemp("whole") / "results")
    assert train_on_few_digits(spec, store, COMMIT_ALL).status == "done"
    return store


@pytest.fixture(scope="module")
def calls(spec: TrialSpec, tmp_path_factory: pytest.TempPathFactory) -> list[Call]:
    """Every call of an undisturbed run, in order."""
    seen: list[Call] = []
    root = tmp_path_factory.mktemp("calls") / "results"
    with watched(root, seen.append):
        train_on_few_digits(spec, open_store(root), COMMIT_ALL)
    return seen


class Refusal:
    """Fails the n-th call, or from it on all that would take space; counts what it refused."""

    def __init__(self, number: int, code: int, *, partly: bool = False, on: bool = False) -> None:
        self.number, self.code, self.partly, self.on = number, code, partly, on
        self.seen = self.refused = 0

    def __call__(self, call: Call) -> None:
        self.seen += 1
        later = self.on and self.seen > self.number and call.name in GROWING
        if self.seen != self.number and not later:
            return
        self.refused += 1
        if self.partly:
            call.half()
        raise OSError(self.code, os.strerror(self.code), call.path)


def goes_on(root: Path, spec: TrialSpec) -> Outcome:
    """The same again on a file system that works, by an observer who has watched long enough.

    A process whose lease could not be removed still lives here, but beats no more.
    """
    now = itertools.count(0, EXPIRY)
    store = open_store(root)
    store.leases = FolderLeases(root, lambda: next(now))
    store.leases.free(spec.trial_id)
    return train(spec, store, device="cpu", checkpointing=COMMIT_ALL)


def check(root: Path, spec: TrialSpec, whole: LocalStore, refusal: Refusal) -> bool:
    """Disturbs a run, and lets it go on; returns whether the disturbed run told of it."""
    with watched(root, refusal):
        came = run(root, spec)
    assert refusal.refused, "nothing was refused"
    told = isinstance(came, StoreError) or came.status == "failed"
    if told and isinstance(came, Outcome):
        assert came.kind == ("full" if refusal.code == errno.ENOSPC else "store"), came
        assert came.reason
    else:
        assert isinstance(came, StoreError) or came.status == "done", came
    assert_sound(LocalStore(root), whole)
    assert goes_on(root, spec).status == "done"
    store = LocalStore(root)
    assert_same(store, whole, spec)
    assert {name for name in litter(store, whole) if not name.startswith("leases/")} == set()
    return told


KINDS: dict[str, Callable[[int], Refusal]] = {
    **{
        f"{name} once": lambda number, code=code: Refusal(number, code)
        for name, code in ERRORS.items()
    },
    "ENOSPC from then on": lambda number: Refusal(number, errno.ENOSPC, partly=True, on=True),
}


def numbers(kind: str, calls: Sequence[Call]) -> list[int]:
    """The calls to refuse: all, or those that a full disk would refuse."""
    on = kind == "ENOSPC from then on"
    return [n for n, call in enumerate(calls, start=1) if not on or call.name in GROWING]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(8))
@pytest.mark.long
@pytest.mark.timeout(900)
def test_each_call_refused_in_turn(
    tmp_path: Path,
    spec: TrialSpec,
    whole: LocalStore,
    calls: list[Call],
    kind: str,
    part: int,
    tally: Counter[str],
):
    chosen = numbers(kind, calls)[part::8]
    for number in chosen:
        call, root = calls[number - 1], tmp_path / str(number) / "results"
        try:
            told = check(root, spec, whole, KINDS[kind](number))
        except BaseException as error:
            error.add_note(f"call {number} was refused: {call.name} {call.path}")
            raise
        tally[f"calls refused, {kind}{'' if told else ', and done all the same'}"] += 1


@pytest.mark.parametrize("kind", KINDS)
def test_some_calls_refused_in_turn(
    tmp_path: Path, spec: TrialSpec, whole: LocalStore, calls: list[Call], kind: str
):
    possible = numbers(kind, calls)
    for number in possible[5 :: len(possible) // 4]:
        check(tmp_path / str(number) / "results", spec, whole, KINDS[kind](number))


def test_a_small_run_makes_calls_of_every_kind(calls: list[Call]):
    assert {call.name for call in calls} >= {
        *("create", "write", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir"),
        *("open", "read", "scandir", "stat"),
    }
