"""How many trials share a GPU, asked of a Ray that has one: in name alone, so a CPU computes."""

import io
import threading
from dataclasses import replace

import pytest
from local_ray import local_ray
from rich.console import Console
from small_queues import make
from small_trials import small_spec

from orchestrator.execution.cluster import check_room, slots
from orchestrator.execution.probing import trials_side_by_side
from results_schema.errors import MachineError
from results_schema.store import LocalStore

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def one_gpu():
    """Two cores, and a GPU that is none."""
    with local_ray(cpus=2, gpus=1):
        yield


@pytest.fixture
def ask(one_gpu, tmp_path):
    """Asks for small trials; returns the number and what was said meanwhile."""
    queue, _ = make(LocalStore(tmp_path), 0)

    def asked(count: int, device: str, *, stop: bool = False) -> tuple[int, str]:
        specs = [replace(small_spec(), seed=seed) for seed in range(count)]
        shown = io.StringIO()
        console = Console(file=shown, width=200)
        if stop:
            threading.Timer(0.2, queue.stop).start()
        found = trials_side_by_side(specs, 1, False, queue, console, device)
        return found, shown.getvalue()

    return asked


def test_it_trains_ever_more_side_by_side_and_says_what_it_measured(ask):
    found, said = ask(2, "cpu")
    measured = [line for line in said.splitlines() if "images/s in all" in line]
    assert 1 <= found <= 2
    assert [line.split(":")[0].strip() for line in measured][:2] == ["1", "2"]
    assert said.splitlines()[-1].strip() == ("2 side by side" if found == 2 else "one at a time")


def test_a_trial_for_each_gpu_needs_no_measuring(ask):
    assert ask(1, "cuda") == (1, "")


def test_a_measurement_that_fails_is_told_and_each_trial_gets_a_gpu(ask):
    found, said = ask(5, "cuda")
    assert found == 1
    assert "that failed, so each has a GPU: " in said
    assert "Traceback" not in said


def test_a_launch_that_is_stopped_waits_for_no_measurement(ask):
    assert ask(16, "cpu", stop=True)[0] == 1


def test_a_pack_of_more_trials_than_a_node_has_cores_has_no_room(one_gpu):
    assert slots("cpu", 1.0, cores=2) == 1
    with pytest.raises(MachineError, match="no room for 3 trials side by side on cpu"):
        check_room(slots("cpu", 1.0, cores=3), "cpu", 3)
