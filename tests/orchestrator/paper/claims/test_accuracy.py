"""Adapted cells against their originals."""

import numpy as np
import pytest
from synthetic_stores import curve, synthetic_trials

from workers.cells.bases import ADAPTED
from workers.cells.bases import BASES as ORIGINAL

DATASETS = ("cifar10", "cifar100", "tiny_imagenet")
CLAIMS = "adapted-better-cifar100 adapted-worse-cifar10 adapted-worse-tiny-imagenet"


def trials(seeds=range(3), datasets=DATASETS):
    names = (*ORIGINAL, *ADAPTED)
    return synthetic_trials(bases=names, connections=None, datasets=datasets, seeds=seeds)


def gains(gain, noise=0.001):
    """Adapted cells gain on CIFAR-100 and lose elsewhere, or the other way round."""

    def accuracies(t):
        sign = 1 if t.spec.dataset == "cifar100" else -1
        moved = gain * sign * t.base.endswith("_ADAPT")
        return curve(1.0, final=0.8 + moved + noise * t.rng.standard_normal())

    return accuracies


@pytest.mark.parametrize(("gain", "verdict"), [(0.02, "supported"), (-0.02, "contradicted")])
def test_gains_and_losses_on_one_data_set(say, gain, verdict):
    for claim, dataset in zip(
        CLAIMS.split(), ("cifar100", "cifar10", "tiny_imagenet"), strict=True
    ):
        main, exact, seeds, signs = say(claim, trials(datasets=(dataset,)), gains(gain))
        assert main.verdict == verdict
        assert min(main.p, main.p_against) < 1e-3
        assert min(exact.p, exact.p_against) == 1 / 32
        assert abs(main.size) == pytest.approx(2, abs=0.2)
        assert (main.cells, main.trials) == (10, 30)
        assert not seeds.primary
        assert min(seeds.p, seeds.p_against) < 1e-3
        assert signs.size in (0, 1)


def test_five_architectures_can_decide_three_claims_at_once(say):
    found = [one for one in say(CLAIMS, trials(), gains(0.02)) if one.primary]
    assert {one.verdict for one in found} == {"supported"}
    assert all(one.p <= one.p_holm <= 0.05 for one in found)
    assert sum(one.p < one.p_holm for one in found) >= 2


def test_nothing_planted_is_undecided(say):
    found = say(CLAIMS, trials(), gains(0, noise=0.01))
    assert {one.verdict for one in found if one.primary} == {"undecided"}


def test_a_diverged_trial_counts_as_wrong_about_everything(say):
    def lost(t):
        return t.base == "SNAS" and t.spec.seed == 0

    main = say("adapted-better-cifar100", trials(datasets=("cifar100",)), gains(0), diverged=lost)[
        0
    ]
    assert main.diverged == 1
    assert np.isclose(main.size, 80 / 15, atol=0.3)


def test_originals_alone_are_no_data(say):
    rows = synthetic_trials(bases=ORIGINAL, connections=None, datasets=DATASETS)
    assert {one.verdict for one in say(CLAIMS, rows, gains(0))} == {"no data"}
