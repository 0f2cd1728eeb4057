"""A file system that really is full: nothing there is harmed, and with space the trial goes on."""

from __future__ import annotations

import os
import random
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from small_trials import COMMIT_ALL
from soundness import assert_equal, assert_sound

from results_schema.errors import StoreError
from results_schema.store import LocalStore, open_store
from results_schema.trial import TrialSpec
from workers.training.attempt import Outcome
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")

SIZE = 2_000_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"a small file system can't be mounted here: {error}")
    if mounted.returncode:
        pytest.skip(f"a small file system can't be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def free(disk: Path) -> int:
    """Bytes that are left."""
    system = os.statvfs(disk)
    return system.f_bavail * system.f_frsize


def fill(disk: Path, left: int) -> Path:
    """Takes all space but so many bytes."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free(disk) - left))
    return ballast


def contents(store: LocalStore) -> dict[str, bytes]:
    """Every file of tables and checkpoints."""
    keys = [key for folder in ("metrics/", "trials/", "checkpoints/") for key in store.list(folder)]
    return {key: store.get(key) for key in keys}


def attempt(root: Path, spec: TrialSpec) -> Outcome | StoreError:
    try:
        return train(spec, open_store(root), device="cpu", checkpointing=COMMIT_ALL)
    except StoreError as error:
        return error


@pytest.mark.seeds(quick=2, long=20)
def test_a_full_disk_is_told_and_the_same_command_goes_on(
    small_disk: Path,
    fault_seed: int,
    specs: Sequence[TrialSpec],
    reference: LocalStore,
    tally: Counter[str],
):
    """The disk fills up when one trial has ended and another one is in its midst, or begins."""
    draws, root = random.Random(fault_seed), small_disk / "results"
    store = open_store(root)
    empty = free(small_disk)
    assert train(specs[0], store, device="cpu", checkpointing=COMMIT_ALL).status == "done"
    before = contents(store)
    taken = empty - free(small_disk)  # by a trial that has ended; one that trains takes more
    ballast = fill(small_disk, draws.randrange(taken))
    told = attempt(root, specs[1])
    reason = str(told) if isinstance(told, StoreError) else told.reason
    if isinstance(told, Outcome):
        assert (told.status, told.kind) == ("failed", "full"), told
    assert "No space left on device" in reason
    assert "free some space there: nothing written so far is lost" in reason
    assert_sound(store, reference)
    assert before.items() <= contents(store).items()
    again = attempt(root, specs[1])
    assert isinstance(again, StoreError) or again.kind == "full", "there is no more space yet"
    assert before.items() <= contents(store).items()
    ballast.unlink()
    for spec in specs:
        assert (
            train(spec, open_store(root), device="cpu", checkpointing=COMMIT_ALL).status == "done"
        )
    assert_equal(store, reference)
    assert store.leases.held() == {}
    trained = told.epochs if isinstance(told, Outcome) else 0
    tally["real disks filled"] += 1
    tally["epochs trained before the disk was full"] += trained
