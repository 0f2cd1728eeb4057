"""A real launch on a real file system that runs full: it pauses, and then continues."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_heads import OnHead
from soundness import assert_equal
from sweeps import finish, trained_epochs, undisturbed, wait_for, write_experiment

from results_schema.results import Results
from results_schema.store import open_store

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

EPOCHS = 8


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system that a report still fits in."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=16000000", "none", str(folder)]
    mounted = subprocess.run(command, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Leave no byte free; return the file that does it."""
    filler = folder / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_launch_pauses_on_a_full_disk_and_can_be_left_or_continues_by_itself(
    tmp_path: Path, disk: Path, on_head: OnHead
):
    experiment, store = write_experiment(tmp_path, epochs=EPOCHS), open_store(disk / "results")
    options = (experiment, "--checkpoint-every", "0.2", "--store", store.root)
    with on_head.started(*options) as sweep:
        with on_head.pace.held_after(2):
            wait_for(lambda: trained_epochs(store) >= 1)
            filler = fill(disk)
        wait_for(lambda: not store.leases.held())
        before = trained_epochs(store)
        assert before < 3 * EPOCHS
        assert len(Results(store).metrics()) == before, "what is there can be read"
        sweep.send_signal(signal.SIGINT)
        code, output = finish(sweep)
    assert code == 3, output
    assert "No space left on device" in output
    assert "free some space" in output
    filler.unlink()
    with on_head.started(*options) as sweep:
        with on_head.pace.held_after(before + 1):
            wait_for(lambda: trained_epochs(store) > before)
            filler = fill(disk)
        wait_for(lambda: not store.leases.held())
        filler.unlink()
        code, output = finish(sweep)
    assert code == 0, output
    assert output.count("paused: ") == output.count("there is space again") >= 1, output
    assert "Traceback" not in output
    assert_equal(store, undisturbed(experiment, tmp_path / "undisturbed"))
