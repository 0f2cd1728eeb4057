"""How large packs are: measured on a GPU, and near the end of a plan by what is left."""

import io
import threading
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_ray import local_ray
from rich.console import Console
from small_queues import make
from small_trials import small_spec

from orchestrator.execution import preflight
from orchestrator.execution.cluster import count_slots, require_slots
from orchestrator.execution.packing import (
    best_size,
    interpolate_speeds,
    makespan,
    measure_pack_size,
    next_pack_size,
    typical_trial,
)
from results_schema.errors import MachineError
from results_schema.store import LocalStore
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.training.packing import MEMORY_LIMIT, PackSpeed

MANY = 10_000

counts = st.integers(1, 40)


def rungs(*speeds: float, memory: float = 0.1) -> list[PackSpeed]:
    return [PackSpeed(size, speed, memory * size) for size, speed in enumerate(speeds, 1)]


def offered(owed: int, slots: int, largest: int) -> list[int]:
    """Sizes of packs that take equally long, whatever their size, on slots free at first."""
    sizes: list[int] = []
    while owed:
        sizes.append(next_pack_size(owed, slots - len(sizes) % slots, slots, largest))
        owed -= sizes[-1]
    return sizes


def test_of_much_the_smallest_within_3_percent_of_the_fastest_is_taken():
    assert best_size(rungs(100, 180, 240, 244), MANY, 8) == 3
    assert best_size(rungs(100, 180, 240, 260), MANY, 8) == 4
    assert best_size(rungs(100, 102), MANY, 1) == 1
    assert best_size(rungs(100, 70), MANY, 1) == 1


def test_a_pack_that_nearly_fills_the_memory_is_too_large():
    measured = [
        PackSpeed(1, 100, 0.3),
        PackSpeed(2, 180, MEMORY_LIMIT),
        PackSpeed(3, 300, MEMORY_LIMIT + 0.01),
    ]
    assert best_size(measured, MANY, 1) == 2
    assert best_size([PackSpeed(1, 100, 0.99)], MANY, 1) == 1, (
        "even one trial is too much, or just fits"
    )
    assert best_size([], MANY, 1) == 1


def test_rungs_may_be_measured_in_any_order_and_with_gaps():
    measured = [PackSpeed(8, 500, 0.8), PackSpeed(1, 100, 0.1), PackSpeed(4, 300, 0.4)]
    assert best_size(measured, MANY, 1) == 8
    assert interpolate_speeds(measured)(2) == pytest.approx(100 + 200 / 3)


def test_no_gpu_is_left_idle_for_a_larger_pack():
    measured = rungs(100, 160, 200, 220)
    assert best_size(measured, 8, 8) == 1
    assert best_size(measured, 16, 8) == 2
    assert offered(16, 8, 4) == [2] * 8


def test_the_last_packs_are_of_about_one_size():
    assert offered(5, 1, 4) == [3, 2], "4 and 1 would take longer"
    assert offered(9, 2, 4) == [3, 2, 2, 2]
    assert offered(8, 2, 4) == [4, 4]
    assert next_pack_size(7, 0, 4, 4) == 2, (
        "what waits for room is spread over all that will be free"
    )


@given(owed=counts, slots=counts, largest=counts)
def test_packs_hold_everything_and_are_never_too_large(owed, slots, largest):
    sizes = offered(owed, slots, largest)
    assert sum(sizes) == owed
    assert 1 <= min(sizes) <= max(sizes) <= largest
    assert len(sizes) >= min(owed, slots), "every slot gets one if there are so many trials"
    waves = -(-owed // (slots * largest))
    assert len(sizes) <= waves * slots, "and no more rounds are taken than are needed"


@given(owed=counts, slots=counts, largest=counts)
def test_a_plan_ends_no_sooner_than_its_work_allows(owed, slots, largest):
    ends = makespan(owed, slots, largest, lambda size: size**0.5)
    assert ends >= owed / slots / largest**0.5 * (1 - 1e-9)
    assert ends <= makespan(owed, slots, 1, lambda size: 1.0) * (1 + 1e-9), "packing is no loss"


@given(owed=counts, slots=counts)
def test_a_plan_of_lone_trials_takes_its_rounds(owed, slots):
    assert makespan(owed, slots, 1, lambda size: 1.0) == -(-owed // slots)


@given(
    owed=st.integers(1, 200),
    slots=counts,
    gains=st.lists(st.floats(0.01, 1), min_size=1, max_size=7),
)
def test_the_size_that_is_chosen_ends_the_plan_within_3_percent_of_the_soonest(owed, slots, gains):
    speeds = [100.0]
    for gain in sorted(gains, reverse=True):
        speeds.append(speeds[-1] + 100 * gain)
    measured = rungs(*speeds, memory=0.01)
    speed = interpolate_speeds(measured)
    takes = [makespan(owed, slots, rung.trials, speed) for rung in measured]
    chosen = best_size(measured, owed, slots)
    assert takes[chosen - 1] * 0.97 <= min(takes)
    assert all(time * 0.97 > min(takes) for time in takes[: chosen - 1])


def test_makespans_of_a_plan_never_grow_when_a_gpu_is_added():
    times = [makespan(40, slots, 4, lambda size: size**0.5) for slots in (1, 2, 4, 8, 20, 40)]
    assert all(later <= sooner for sooner, later in pairwise(times))


def test_packs_are_measured_with_the_largest_trial_of_the_kind_that_takes_most_time():
    small, wide = small_spec(), small_spec(genotype=named("DARTS"))
    huge = replace(wide, network=NetworkSpec(20, 36))
    assert typical_trial([small, wide]) == wide
    assert typical_trial([small] * 3 + [huge]) == huge
    longer = [replace(small_spec(epochs=900), seed=seed) for seed in range(20)]
    assert typical_trial([wide, *longer]) in longer


@pytest.mark.parametrize(
    ("share_of_one", "pack", "gpus", "expected"),
    [
        (1.0, None, 0, 16),
        ("auto", 8, 0, 16),
        (1.0, None, 4, 4),
        (0.5, None, 4, 8),
        (0.25, 3, 2, 24),
        ("auto", 3, 2, 6),
        ("auto", None, 2, 32),
        (2.0, None, 1, 1),
        (0.01, None, 8, 16),
    ],
)
def test_trials_at_once_are_counted(monkeypatch, share_of_one, pack, gpus, expected):
    monkeypatch.setattr(preflight, "cores", lambda: 16)
    options = preflight.Options(gpus_per_trial=share_of_one, pack=pack)
    assert preflight.trials_at_once(options, gpus) == expected


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
        found = measure_pack_size(specs, 1, False, lambda: queue.stopping, console, device)
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
    assert count_slots({"CPU": 2.0}) == 1
    three = {"CPU": 3.0}
    with pytest.raises(MachineError, match="no room for 3 trials side by side on cpu"):
        require_slots(three)
