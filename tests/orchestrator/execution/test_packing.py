"""How large packs are: measured on a GPU, and near the end of a plan by what is left."""

from __future__ import annotations

import io
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st
from ray.exceptions import RayError
from rich.console import Console
from small_trials import small_spec

from orchestrator.execution.cluster import count_slots, require_slots
from orchestrator.execution.packing import (
    MAX_PACK,
    best_size,
    interpolate_speeds,
    makespan,
    measure_pack_size,
    next_pack_size,
    typical_trial,
)
from results_schema.errors import MachineError
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.training.packing import MEMORY_LIMIT, PackSpeed

MANY = 10_000
counts = st.integers(1, 40)


def measured(*speeds: float, memory: float = 0.1) -> list[PackSpeed]:
    return [PackSpeed(size, speed, memory * size) for size, speed in enumerate(speeds, 1)]


def offered(count: int, slots: int, largest: int) -> list[int]:
    """Sizes of packs that take equally long, whatever their size, on slots free at first."""
    sizes: list[int] = []
    while count:
        sizes.append(next_pack_size(count, slots - len(sizes) % slots, slots, largest))
        count -= sizes[-1]
    return sizes


def test_a_pack_that_nearly_fills_the_memory_is_too_large():
    over = PackSpeed(3, 300, MEMORY_LIMIT + 0.01)
    assert (
        best_size([*measured(100, memory=0.3), PackSpeed(2, 180, MEMORY_LIMIT), over], MANY, 1) == 2
    )
    assert best_size([PackSpeed(1, 100, 0.99)], MANY, 1) == 1, "too much, or it just fits"
    assert best_size([], MANY, 1) == 1
    # No GPU is left idle for a larger pack.
    assert [best_size(measured(100, 160, 200, 220), count, 8) for count in (8, 16)] == [1, 2]


def test_sizes_may_be_measured_in_any_order_and_with_gaps():
    found = [PackSpeed(8, 500, 0.8), PackSpeed(1, 100, 0.1), PackSpeed(4, 300, 0.4)]
    assert best_size(found, MANY, 1) == 8
    assert interpolate_speeds(found)(2) == pytest.approx(100 + 200 / 3)


@pytest.mark.parametrize(
    ("arguments", "sizes"),
    [((16, 8, 4), [2] * 8), ((5, 1, 4), [3, 2]), ((9, 2, 4), [3, 2, 2, 2]), ((8, 2, 4), [4, 4])],
)
def test_the_last_packs_are_of_about_one_size(arguments, sizes):
    assert offered(*arguments) == sizes


def test_what_waits_is_spread_over_all_slots_that_will_be_free():
    assert next_pack_size(7, 0, 4, 4) == 2


@given(counts, counts, counts)
def test_packs_hold_everything_in_as_few_rounds_as_they_can(count, slots, largest):
    sizes = offered(count, slots, largest)
    assert sum(sizes) == count
    assert 1 <= min(sizes) <= max(sizes) <= largest
    assert min(count, slots) <= len(sizes) <= -(-count // (slots * largest)) * slots


@given(counts, counts, counts)
def test_a_plan_ends_no_sooner_than_its_work_allows_and_packing_is_no_loss(count, slots, largest):
    ends = makespan(count, slots, largest, lambda size: size**0.5)
    alone = makespan(count, slots, 1, lambda size: 1.0)
    assert alone == -(-count // slots)
    assert count / slots / largest**0.5 * (1 - 1e-9) <= ends <= alone * (1 + 1e-9)
    assert makespan(count, slots + 1, largest, lambda size: size**0.5) <= ends * (1 + 1e-9)


@given(st.integers(1, 99), counts, st.lists(st.floats(-0.1, 1), max_size=7))
def test_the_size_that_is_chosen_is_the_smallest_within_3_percent(count, slots, gains):
    speeds = [100.0]
    for gain in sorted(gains, reverse=True):
        speeds.append(speeds[-1] + 100 * gain)
    found = measured(*speeds, memory=0.01)
    takes = [makespan(count, slots, one.trials, interpolate_speeds(found)) for one in found]
    chosen = best_size(found, count, slots)
    assert takes[chosen - 1] * 0.97 <= min(takes)
    assert all(time * 0.97 > min(takes) for time in takes[: chosen - 1])


def test_packs_are_measured_with_the_largest_trial_of_the_kind_that_takes_most_time():
    small, wide = small_spec(), small_spec(genotype=named("DARTS"))
    huge = replace(wide, network=NetworkSpec(20, 36))
    assert typical_trial([small, wide]) == wide
    assert typical_trial([small] * 3 + [huge]) == huge
    longer = [replace(small_spec(epochs=900), seed=seed) for seed in range(20)]
    assert typical_trial([wide, *longer]) in longer


class Rays:
    """What `measure_pack_size` asks of Ray, in its place."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, result: Any, waits: int = 1) -> None:
        self.result, self.waits = result, waits
        self.resources: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        self.cancelled = False
        # What `measure_pack_size` imports decorates functions with ray.remote as it is imported.
        import_module("orchestrator.execution.trainable")
        for name in ("remote", "wait", "get", "cancel"):
            monkeypatch.setattr(ray, name, getattr(self, name))

    def remote(self, **resources: Any) -> Any:
        self.resources = resources

        def submit(spec: Any, **given: Any) -> str:
            self.given = given | {"spec": spec}
            return "running"

        return lambda function: type("Task", (), {"remote": staticmethod(submit)})

    def wait(self, tasks: list[str], timeout: float) -> tuple[list[str], list[str]]:
        self.waits -= 1
        return (tasks, []) if self.waits <= 0 else ([], tasks)

    def get(self, task: str) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result

    def cancel(self, task: str, force: bool) -> None:
        self.cancelled = force


def ask(count: int, gpus: int = 1, *, stopping: bool = False) -> tuple[int, list[str]]:
    """The number of trials side by side, and what is printed."""
    shown = io.StringIO()
    specs = [replace(small_spec(), seed=seed) for seed in range(count)]
    found = measure_pack_size(specs, gpus, True, lambda: stopping, Console(file=shown, width=200))
    return found, shown.getvalue().splitlines()


def test_a_measurement_is_made_on_a_gpu_of_its_own_and_printed(monkeypatch):
    rays = Rays(monkeypatch, measured(100, 190, 200), waits=3)
    size, lines = ask(99, 3)
    assert size == 3
    assert lines[1:] == [
        "  1: 100 images/s in all, 10% of the memory",
        "  2: 190 images/s in all, 20% of the memory",
        "  3: 200 images/s in all, 30% of the memory",
        "  3 side by side",
    ]
    assert rays.resources == {"num_cpus": 1, "num_gpus": 1, "max_calls": 1, "max_retries": 0}
    assert (rays.given["device"], rays.given["deterministic"]) == ("cuda", True)
    assert rays.given["most"] == MAX_PACK
    assert ask(5, 2)[0] == 3
    assert rays.given["most"] == 3, "so many are left for each GPU"
    Rays(monkeypatch, measured(100, 90))
    assert ask(9)[1][-1] == "  one at a time"


def test_a_trial_for_each_gpu_needs_no_measurement():
    assert ask(3, 3) == (1, [])


def test_a_measurement_that_fails_is_printed_and_each_trial_gets_a_gpu(monkeypatch):
    Rays(monkeypatch, RayError("Traceback\n…\nno kernel image"))
    size, lines = ask(5)
    assert (size, lines[-1]) == (1, "  that failed, so each has a GPU: no kernel image")


def test_a_launch_that_is_stopped_waits_for_no_measurement(monkeypatch):
    rays = Rays(monkeypatch, None, waits=9)
    assert ask(16, stopping=True)[0] == 1
    assert rays.cancelled


NODES = [
    {"Alive": True, "Resources": {"CPU": 9.0, "GPU": 1.0}},
    {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 3.0}},
    {"Alive": True, "Resources": {"CPU": 4.0}},
    {"Alive": False, "Resources": {"CPU": 99.0, "GPU": 8.0}},
]


@pytest.mark.parametrize(
    ("takes", "slots"),
    [
        ({"CPU": 1.0}, 29),
        ({"CPU": 2.0}, 4 + 8 + 2),
        ({"CPU": 1.0, "GPU": 1.0}, 4),
        ({"CPU": 1.0, "GPU": 2.0}, 1),
        ({"CPU": 1.0, "GPU": 0.5}, 8),
        ({"CPU": 1.0, "GPU": 0.3}, 12),
        ({"CPU": 1.0, "GPU": 0.125}, 8 + 16),
        ({"CPU": 17.0}, 0),
    ],
)
def test_slots_are_counted_on_live_nodes_and_no_share_spans_two_gpus(monkeypatch, takes, slots):
    monkeypatch.setattr(ray, "nodes", lambda: NODES)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 29.0, "GPU": 4.0})
    assert count_slots(takes) == slots
    if slots:
        assert require_slots(takes) == slots
    else:
        with pytest.raises(MachineError, match="no room for 17 trials side by side on cpu"):
            require_slots(takes)


@pytest.mark.ray
def test_a_real_measurement_trains_ever_more_side_by_side():
    from local_ray import local_ray

    shown = io.StringIO()
    with local_ray(cpus=2, gpus=1):
        specs = [replace(small_spec(), seed=seed) for seed in range(2)]
        console = Console(file=shown, width=200)
        found = measure_pack_size(specs, 1, False, lambda: False, console, "cpu")
    lines = [line for line in shown.getvalue().splitlines() if "images/s in all" in line]
    assert 1 <= found <= 2
    assert [line.split(":")[0].strip() for line in lines] == ["1", "2"][: len(lines)]
