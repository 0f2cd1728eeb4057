"""A file system that really is full: nothing there is harmed, and with space the trial resumes."""

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
from workers.training.trial import train

pytestmark = pytest.mark.usefixtures("on_few_digits")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 2 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2000000", "tmpfs", str(folder)]
    try:
        subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"a small file system can't be mounted here: {error}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def free(disk: Path) -> int:
    """Bytes that are left."""
    system = os.statvfs(disk)
    return system.f_bavail * system.f_frsize


def contents(store: LocalStore) -> dict[str, bytes]:
    """Every file of tables and checkpoints."""
    keys = [key for folder in ("metrics/", "trials/", "checkpoints/") for key in store.list(folder)]
    return {key: store.get(key) for key in keys}


def trained(root: Path, spec: TrialSpec) -> tuple[str, str]:
    """The status of an attempt and, if the disk was full, the reason."""
    try:
        outcome = train(spec, open_store(root), device="cpu", checkpointing=COMMIT_ALL)
    except StoreError as error:
        return "failed", str(error)
    assert outcome.status == "done" or outcome.kind == "full", outcome
    return outcome.status, outcome.reason


@pytest.mark.seeds(quick=1, long=20)
def test_a_full_disk_is_reported_and_the_same_command_resumes(
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
    assert trained(root, specs[0])[0] == "done"
    before = contents(store)
    taken = empty - free(small_disk)  # by a trial that has ended; one that trains takes more
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free(small_disk) - draws.randrange(taken)))
    for _ in range(2):
        status, reason = trained(root, specs[1])
        assert status == "failed"
        assert "No space left on device" in reason
        assert "free some space there: nothing written so far is lost" in reason
        assert_sound(store, reference)
        assert before.items() <= contents(store).items()
    ballast.unlink()
    assert {trained(root, spec)[0] for spec in specs} == {"done"}
    assert_equal(store, reference)
    assert store.leases.held() == {}
    tally["real disks filled"] += 1
