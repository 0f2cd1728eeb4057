"""Ours and the reference loop train alike: step by step without chance, on average with it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean, stdev

import pytest
import torch
from small_trials import TRAIN, few_digits

from benchmarks.loops import FairLoop, Loop, OwnLoop, ReferenceLoop, Setting
from results_schema.trial import NetworkSpec, Recipe
from workers.data import catalog
from workers.training.recipe import scheduled_lr

RATE = 0.025
BARS = {"fp32": 2e-3, "bf16": 1e-2}
"""Largest share by which losses differ that differ by rounding alone."""

SETTING = Setting(torch.device("cpu"), dataset="digits", size=NetworkSpec(cells=3, channels=2))


@pytest.fixture
def whole_batches() -> Iterator[Setting]:
    """Every step sees every image as it is, so that neither order nor augmentation matters."""
    # A patch of its own, which is undone before that of the digits.
    with few_digits(), pytest.MonkeyPatch.context() as patch:
        plain = replace(catalog.DATASETS["digits"], padding=0)
        patch.setitem(catalog.DATASETS, "digits", plain)
        # Of these norms most are clipped, and decay shows.
        recipe = Recipe(epochs=4, batch_size=TRAIN, grad_clip=1.0, weight_decay=0.1)
        yield replace(SETTING, recipe=recipe)


def losses(loop: Loop, recipe: Recipe, rate: float = RATE) -> list[float]:
    """The mean training loss of each epoch of the schedule."""
    return [
        loop.epoch(epoch, scheduled_lr(recipe, rate, epoch))
        for epoch in range(1, recipe.epochs + 1)
    ]


@pytest.mark.parametrize("precision", BARS)
def test_all_loops_take_the_same_steps(whole_batches: Setting, precision: str):
    recipe = whole_batches.recipe
    reference = losses(ReferenceLoop(whole_batches, workers=0), recipe, rate=0.05)
    for loop in (OwnLoop(whole_batches, precision), FairLoop(whole_batches, precision)):
        assert losses(loop, recipe, rate=0.05) == pytest.approx(reference, rel=BARS[precision])
    assert reference[-1] < 0.9 * reference[0]


@pytest.mark.parametrize("changed", [{"momentum": 0.8}, {"grad_clip": 2.0}, {"weight_decay": 0.0}])
def test_another_recipe_shows(whole_batches: Setting, changed: dict[str, float]):
    recipe = replace(whole_batches.recipe, **changed)
    same, other = (
        losses(OwnLoop(replace(whole_batches, recipe=each), "fp32"), each, rate=0.05)
        for each in (whole_batches.recipe, recipe)
    )
    assert same != pytest.approx(other, rel=BARS["fp32"])


def final_losses(build: Callable[[Setting], Loop], setting: Setting) -> list[float]:
    """Of five seeds."""
    found = []
    for seed in range(5):
        torch.manual_seed(seed)  # of the reference loop's transforms
        found.append(losses(build(replace(setting, seed=seed)), setting.recipe)[-1])
    return found


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("precision", BARS)
def test_five_seeds_of_a_whole_schedule_end_within_their_spread(precision: str):
    setting = replace(SETTING, size=NetworkSpec(cells=5, channels=4), recipe=Recipe(epochs=6))
    ours = final_losses(lambda each: OwnLoop(each, precision), setting)
    theirs = final_losses(lambda each: ReferenceLoop(each, workers=0), setting)
    print(precision, "ours", ours, "reference", theirs)
    spread = (stdev(ours) ** 2 + stdev(theirs) ** 2) ** 0.5
    assert abs(fmean(ours) - fmean(theirs)) < spread
