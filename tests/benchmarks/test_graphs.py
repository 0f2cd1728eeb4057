"""The comparison of modes passes equal ones and finds one that ignores what changes."""

import pytest

from benchmarks.checks import works
from benchmarks.checks.works import Difference, compare_modes
from benchmarks.gpu_check import Scale
from workers.training.engine import Batches, Engine, EpochTotals

TRAIN_EPOCH, BEGIN = Engine.train_epoch, Engine.begin
SETTING = Scale("cpu", dry=True).setting(2)


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "STEPS", 5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_steps_on_fixed_tensors_are_eager_steps(precision: str):
    found = compare_modes(SETTING, precision, "fixed")
    assert [one.sound for one in found] == [True] * 3
    # At one thread a CPU gives the same bits again.
    assert [one.distance for one in found] == [0.0] * 3
    assert all(one.effect is not None and one.effect > 0.1 for one in found[1:])


def frozen_rate(self: Engine, batches: Batches, lr: float) -> EpochTotals:
    return TRAIN_EPOCH(self, batches, 0.025 if self.mode == "fixed" else lr)


def frozen_probability(self: Engine, seed: int, epoch: int) -> None:
    BEGIN(self, seed, epoch)
    if self.mode == "fixed":
        self._drop_path.probability.zero_()  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("method", "frozen", "sound"),
    [
        ("train_epoch", frozen_rate, [True, False, True]),
        ("begin", frozen_probability, [True, True, False]),
    ],
)
def test_a_mode_that_keeps_its_first_numbers_is_found(monkeypatch, method, frozen, sound):
    monkeypatch.setattr(Engine, method, frozen)
    assert [one.sound for one in compare_modes(SETTING, "fp32", "fixed")] == sound


@pytest.mark.parametrize("distance", [float("nan"), 0.5])
def test_what_is_no_number_or_too_far_is_unsound(distance: float):
    assert not Difference("steps", "fp32", distance, again=1e-4).sound
    assert Difference("steps", "fp32", 1e-3, again=1e-4, effect=1.0).sound
    assert not Difference("steps", "fp32", 5e-3, again=1e-4, effect=5e-3).sound
