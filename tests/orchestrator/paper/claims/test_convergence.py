"""Planted, reversed and absent effects of width and depth on speed and steadiness."""

import math

import numpy as np
import pytest
from synthetic_stores import curve, synthetic_trials


def speeds(effect, noise=0.03):
    return lambda t: curve(0.3 + effect * t.width + noise * t.rng.standard_normal())


def unsteady(effect):
    def accuracies(t):
        size = 0.01 * math.exp(effect * t.width + 0.2 * t.rng.standard_normal())
        return curve(0.3, jitter=size, rng=t.rng)

    return accuracies


EFFECTS = [(1, "supported"), (-1, "contradicted"), (0, "undecided")]


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_wider_cells_are_faster_if_they_are(say, sign, verdict):
    main, *others = say("wider-faster", synthetic_trials(), speeds(0.1 * sign))
    assert main.verdict == verdict
    assert main.primary
    assert not any(one.primary for one in others)
    assert (main.cells, main.trials, main.diverged) == (52, 52, 0)
    assert main.groups == tuple(f"{b} cifar10" for b in ("AmoebaNet", "DARTS", "ENAS", "NASNet"))
    assert main.low <= main.size <= main.high
    if sign:
        assert [one.verdict for one in others if "epochs to" in one.measure] == [verdict] * 3


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_shallower_cells_are_faster_if_they_are(say, sign, verdict):
    def accuracies(t):
        depth = t.spec.genotype.depth
        return curve(0.4 - 0.03 * sign * depth + 0.02 * t.rng.standard_normal())

    assert say("shallower-faster", synthetic_trials(), accuracies)[0].verdict == verdict


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_wider_cells_are_steadier_if_they_are(say, sign, verdict):
    assert say("wider-stabler", synthetic_trials(), unsteady(-0.6 * sign))[0].verdict == verdict


def test_shallower_cells_are_steadier_if_they_are(say):
    def accuracies(t):
        return curve(0.3, jitter=0.002 * t.spec.genotype.depth, rng=t.rng)

    assert say("shallower-stabler", synthetic_trials(), accuracies)[0].verdict == "supported"


def test_seeds_and_data_sets_of_a_cell_are_one_cell(say):
    trials = synthetic_trials(datasets=("cifar10", "cifar100"), seeds=(0, 1, 2), bases=("DARTS",))
    main = say("wider-faster", trials, speeds(0.1))[0]
    assert (main.cells, main.trials) == (13, 13 * 6)
    assert main.groups == ("DARTS cifar10", "DARTS cifar100")


def test_diverged_trials_rank_worst_and_are_told(say):
    def lost(t):
        return t.width < -0.6 and t.index > 0

    main = say("wider-faster", synthetic_trials(), speeds(0), diverged=lost)[0]
    assert main.verdict == "supported"
    assert main.diverged > 5
    assert f"{main.diverged} of {main.trials} trials diverged" in main.reading


def test_one_base_with_four_variants_cannot_decide_and_says_so(say):
    trials = synthetic_trials(bases=("DARTS",), connections="main_text")
    main = say("wider-faster", trials, speeds(0.1, noise=0))[0]
    assert (main.verdict, main.exact) == ("undecided", True)
    assert main.p == pytest.approx(1 / 6)
    assert "too few" in main.reading


def test_hostile_names_and_nan_do_no_harm(say):
    trials = synthetic_trials(bases=("DARTS",))
    for t in trials:
        t.base = "<script>alert(1)</script>"
        t.variant = t.variant and f"x{t.index} \x1b[31m | $"

    def accuracies(t):
        told = speeds(0.1)(t)
        if t.index == 3:
            told[:] = np.nan
        return told

    main = say("wider-faster", trials, accuracies)[0]
    assert main.cells == 12
    assert main.groups == ("<script>alert(1)</script> cifar10",)


def test_bases_alone_are_no_data(say):
    [one] = say("wider-faster", synthetic_trials(connections=None), speeds(0))
    assert one.verdict == "no data"
    assert "experiments/fig9.yaml" in one.reading
    assert one.record()["size"] is None
