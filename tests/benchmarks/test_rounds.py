"""Rounds: loops take turns, and ratios are those of one round."""

import time

import pytest
import torch

from benchmarks.loops.setting import Loop, Setting
from benchmarks.measures.rounds import in_turns

SETTING = Setting(torch.device("cpu"), dataset="synthetic_10x1x8_2")


class Sleeping:
    """A loop that takes a given time."""

    def __init__(self, name: str, seconds: float, networks: int, told: list[str]) -> None:
        self.name, self.seconds, self.networks, self.told = name, seconds, networks, told

    def epoch(self, number: int, rate: float) -> float:
        self.told.append(f"{self.name}{number}")
        time.sleep(self.seconds)
        return 0.0


def loops(told: list[str]) -> dict[str, Loop]:
    return {"a": Sleeping("a", 0.04, 1, told), "b": Sleeping("b", 0.02, 3, told)}


def test_loops_take_turns_and_packs_count_all_their_images():
    told: list[str] = []
    speeds = in_turns(loops(told), SETTING, 3, time.perf_counter() + 60)
    assert told == ["a2", "b2", "b3", "a3", "a4", "b4"]
    assert speeds["a"].ratios == [1, 1, 1]
    assert speeds["a"].rate == pytest.approx(10 / 0.04, rel=0.3)
    assert speeds["b"].ratio == pytest.approx(6, rel=0.4)


def test_one_round_is_run_however_late_it_is_and_no_second_that_would_end_too_late():
    told: list[str] = []
    speeds = in_turns(loops(told), SETTING, 3, time.perf_counter() + 0.07)
    assert len(speeds["b"].rates) == 1
    assert in_turns(loops(told), SETTING, 3, 0.0)["a"].rates
