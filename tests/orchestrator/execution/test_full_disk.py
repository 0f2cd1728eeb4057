"""A real launch on a real file system that runs full: it pauses, and goes on when there is room."""

import signal
import subprocess
from pathlib import Path

import pytest
from sweeps import canonical, finish, paced, started, trained_epochs, undisturbed, wait_for
from sweeps import write_experiment as written

from results_schema.results import Results
from results_schema.store import open_store

pytestmark = pytest.mark.timeout(300)

EPOCHS = 8


@pytest.fixture
def disk(tmp_path: Path):
    """A file system of four million bytes."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4000000", "none", str(folder)], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder):
    """Leaves no byte free; returns the file that does it."""
    filler = folder / "filler"
    with pytest.raises(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


def test_a_launch_pauses_on_a_full_disk_and_goes_on_by_itself(tmp_path: Path, disk: Path):
    experiment, store = written(tmp_path, epochs=EPOCHS), open_store(disk / "results")
    options = ("--device", "cpu", "--checkpoint-every", "0.2", "--store", store.root)
    with started("launch", experiment, *options, **paced()) as sweep:
        wait_for(lambda: trained_epochs(store) >= 3)
        filler = fill(disk)
        wait_for(lambda: not store.leases.held())
        before = trained_epochs(store)
        assert before < 3 * EPOCHS
        assert len(Results(store).metrics()) == before, "what is there can be read"
        filler.unlink()
        code, output = finish(sweep)
    assert code == 0, output
    assert (
        output.count("paused: ") == output.count("there is space again: the sweep continues") >= 1
    ), output
    assert "No space left on device" in output
    assert "Traceback" not in output
    expected = canonical(undisturbed(experiment, tmp_path / "undisturbed"))
    for found, wanted in zip(canonical(store), expected, strict=True):
        assert found.equals(wanted)


@pytest.mark.long
def test_a_paused_launch_can_be_left(tmp_path: Path, disk: Path):
    experiment, store = written(tmp_path, epochs=EPOCHS), open_store(disk / "results")
    with started("launch", "--device", "cpu", experiment, "--store", store.root) as sweep:
        wait_for(lambda: trained_epochs(store) >= 1)
        fill(disk)
        wait_for(lambda: not store.leases.held())
        sweep.send_signal(signal.SIGINT)
        code, output = finish(sweep, seconds=30)
    assert code == 3, output
    assert "No space left on device" in output
    assert "free some space" in output
    assert "Traceback" not in output
