"""Links that somebody planted in a store: nothing outside the store is read, written or removed."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from clocks import Clock
from os_calls import Call, watched
from small_trials import COMMIT_ALL, small_spec

from results_schema import layout
from results_schema.errors import StoreError, Superseded
from results_schema.folder.store import FolderLeases
from results_schema.lease import EXPIRY
from results_schema.store import LocalStore, open_store
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")

ITEM = "cifar10-w2.5d3-lr0.025-s0-0123456789"
TOKEN = "token"


def tree(folder: Path) -> dict[str, bytes | None]:
    """Everything below a folder, with the bytes of files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's own, in which every name that the store uses exists."""
    names = ["thesis.tex", "heartbeat", "token/heartbeat", f"{ITEM}/token/heartbeat"]
    names += [f"{ITEM}/epoch-00001/state.json", "epoch-00001/state.json", "state.json"]
    names += [f"{ITEM}.parquet", f"{ITEM}.log", "precious/data.csv"]
    for name in names:
        path = tmp_path / "outside" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
        os.utime(path, (0, 0))
    return tmp_path / "outside"


@pytest.mark.parametrize("place", ["", "{item}", "{item}/token"])
def test_a_takeover_removes_nothing_outside(tmp_path: Path, outside: Path, place: str):
    spec = small_spec(epochs=1)
    store = open_store(tmp_path / "results")
    # Seen by an observer for whom every look comes `EXPIRY` s after the one before.
    now = itertools.count(0, EXPIRY)
    store.leases = FolderLeases(store.root, lambda: next(now))
    link = store.root / "leases" / place.format(item=spec.trial_id)
    link.parent.mkdir(parents=True, exist_ok=True)
    if not place:
        link.rmdir()  # which the store had made
    (outside / spec.trial_id).mkdir()
    (outside / spec.trial_id / "data.csv").write_bytes(b"mine")
    before = tree(outside)
    link.symlink_to(outside)
    outcomes = [train(spec, store, device="cpu", checkpointing=COMMIT_ALL) for _ in range(3)]
    outcome = outcomes[-1]
    if place:
        assert outcome.status == "done"
        assert not link.is_symlink(), "a link is no holder"
    else:
        assert (outcome.status, outcome.kind) == ("failed", "store")
        assert f"{link}: this is a link" in outcome.reason
    assert tree(outside) == before


FOLDERS = (".staging", "leases", f"leases/{ITEM}", f"leases/{ITEM}/{TOKEN}", "metrics", "logs")
FOLDERS += ("checkpoints", f"checkpoints/{ITEM}", f"checkpoints/{ITEM}/epoch-00001")


def use(store: LocalStore) -> None:
    """Every operation of a store, some of which a link makes fail."""

    def do(operation: Callable[..., object], *arguments: Any, **options: Any) -> None:
        with contextlib.suppress(StoreError, Superseded):
            operation(*arguments, **options)

    lease = store.leases.take(ITEM, TOKEN)
    if lease is not None:
        for key in (layout.metrics(ITEM), layout.state(ITEM, 1)):
            do(store.put, key, b"row", lease=lease, durable=True)
        do(store.delete, layout.state(ITEM, 1), lease=lease)
        do(lease.beat)
    do(store.put, layout.log(ITEM), b"line")
    do(store.get, layout.metrics(ITEM))
    for folder in (layout.METRICS, layout.CHECKPOINTS):
        do(store.stats, folder)
    do(store.leases.held)
    do(store.delete, layout.log(ITEM))
    if lease is not None:
        do(lease.release)
    do(store.leases.take, ITEM, TOKEN)
    do(store.leases.fence, ITEM, TOKEN)


class Swap:
    """Puts a link in the place of a folder just before the n-th call, if the folder is there."""

    def __init__(self, folder: Path, to: Path, number: int) -> None:
        self.folder, self.to, self.number = folder, to, number
        self.seen, self.done, self._at_it = 0, False, False

    def __call__(self, call: Call) -> None:
        if self._at_it:
            return
        self.seen += 1
        if self.seen == self.number and self.folder.is_dir():
            self._at_it = True
            self.folder.rename(self.folder.with_name("moved"))
            self.folder.symlink_to(self.to)
            self._at_it, self.done = False, True


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("step", [19, pytest.param(1, marks=pytest.mark.long)])
def test_a_link_put_there_at_any_moment_leads_nowhere(
    tmp_path: Path, outside: Path, folder: str, step: int
):
    """It replaces the folder between any two calls to the operating system, or between some."""
    before, done = tree(outside), 0
    for number in itertools.count(1, step):
        store = LocalStore(tmp_path / str(number) / "results")
        store.leases = FolderLeases(store.root, Clock())
        swap = Swap(store.root / folder, outside, number)
        with watched(store.root, swap):
            try:
                use(store)
            except StoreError:
                assert swap.done
        assert tree(outside) == before, f"{folder} was replaced before call {number}"
        done += swap.done
        if swap.seen < number:
            break
    assert done, "the folder was never replaced"
