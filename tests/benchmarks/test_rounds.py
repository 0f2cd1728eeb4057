"""Rounds: loops alternate, and ratios are those of one round."""

from types import SimpleNamespace

import pytest
import torch
from clocks import Clock

from benchmarks import measure
from benchmarks.loops import Loop, Setting
from benchmarks.measure import time_loops

SETTING = Setting(torch.device("cpu"), dataset="synthetic_10x1x8_2")


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that epochs are timed by."""
    clock = Clock()
    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter=clock))
    return clock


class Lasting(Loop):
    """A loop that takes a given time."""

    def __init__(
        self, name: str, seconds: float, networks: int, epochs: list[str], clock: Clock
    ) -> None:
        self.name, self.seconds, self.networks, self.epochs = name, seconds, networks, epochs
        self.clock = clock

    def epoch(self, number: int, lr: float) -> float:
        self.epochs.append(f"{self.name}{number}")
        self.clock.now += self.seconds
        return 0.0


def loops(epochs: list[str], clock: Clock) -> dict[str, Loop]:
    return {"a": Lasting("a", 0.04, 1, epochs, clock), "b": Lasting("b", 0.02, 3, epochs, clock)}


def test_loops_alternate_and_packs_count_all_their_images(clock: Clock):
    epochs: list[str] = []
    speeds = time_loops(loops(epochs, clock), SETTING, 3, 60)
    assert epochs == ["a2", "b2", "b3", "a3", "a4", "b4"]
    assert speeds["a"].ratios == [1, 1, 1]
    assert speeds["a"].rate == pytest.approx(10 / 0.04)
    assert speeds["b"].ratio == pytest.approx(6)


def test_one_round_is_run_however_late_it_is_and_no_second_that_would_end_too_late(clock: Clock):
    epochs: list[str] = []
    speeds = time_loops(loops(epochs, clock), SETTING, 3, 0.11)
    assert len(speeds["b"].rates) == 1
    assert len(time_loops(loops(epochs, clock), SETTING, 3, 0.0)["a"].rates) == 1
