"""Which data a finding is about, and what it may say of the paper's claim."""

from typing import Any

import pytest
from synthetic_stores import curve, synthetic_trials

from results_schema.trial import NetworkSpec
from workers.cells.bases import ADAPTED
from workers.cells.bases import BASES as ORIGINAL

LAPTOP = {"profile": "laptop", "in_place_of": {"digits": "cifar10", "digit_pairs": "cifar100"}}
SMALL = NetworkSpec(cells=5, channels=4)
TABLE_1 = {"cutout": 16, "auxiliary": 0.4, "drop_path": 0.2}


def wide_is_fast(t):
    return curve(0.3 + 0.1 * t.width + 0.01 * t.rng.standard_normal())


def adapted_is_better(t):
    better = 0.02 * t.base.endswith("_ADAPT")
    return curve(1.0, final=0.8 + better + 0.001 * t.rng.standard_normal())


def table_1(dataset, **more):
    more = {"seeds": range(3), "recipe": TABLE_1, **more}
    names = (*ORIGINAL, *ADAPTED)
    return synthetic_trials(bases=names, connections=None, datasets=[dataset], **more)


def test_a_substitute_bears_no_verdict_on_the_papers_claim(observe):
    trials = table_1("digit_pairs", epochs=6, network=SMALL)
    [main] = observe("adapted-better-cifar100", trials, adapted_is_better, **LAPTOP)
    assert (main.verdict, main.datasets) == ("not testable", ("digit_pairs",))
    assert main.p < 0.01 and main.low > 0
    assert main.departures.startswith("5 cells (not 20), 4 channels (not 36), 6 epochs (not 600)")
    assert main.reading.startswith("measured on digit_pairs, the claim is about cifar100")


def test_seeds_that_diverged_count_as_accuracy_0(observe):
    def lost(t):
        return t.base.endswith("_ADAPT") and t.spec.seed == 1

    trials = table_1("cifar100")
    main = observe("adapted-better-cifar100", trials, adapted_is_better, diverged=lost)[0]
    assert main.size == pytest.approx(2 / 3 * 82 - 80, abs=0.1)
    assert "5 of 30 trials diverged, counted as accuracy 0" in main.reading


def test_a_smaller_network_on_the_papers_dataset_is_named_with_the_verdict(observe):
    trials = table_1("cifar100", epochs=600, network=SMALL, recipe=TABLE_1 | {"batch_size": 96})
    main = observe("adapted-better-cifar100", trials, adapted_is_better)[0]
    assert main.verdict == "supported"
    assert main.departures == "5 cells (not 20), 4 channels (not 36), batch_size 96 (not 80)"


def test_networks_recipes_and_substitutes_are_never_mixed(observe):
    others: list[dict[str, Any]] = [
        {},
        {"network": NetworkSpec(cells=8, channels=16)},
        {"recipe": {"batch_size": 96}},
        {"recipe": {"cutout": 16}},
        {"epochs": 20},
        {"datasets": ["digits"]},
    ]
    trials = [trial for other in others for trial in synthetic_trials(**other)]
    main = [one for one in observe("wider-faster", trials, wide_is_fast) if one.primary]
    assert [one.trials for one in main] == [52] * len(others)
    assert [one.verdict for one in main] == ["supported"] * 5 + ["not testable"]
    assert len({one.departures for one in main[:5]}) == 5


def test_datasets_of_one_claim_are_combined_and_their_weights_are_named(observe):
    trials = synthetic_trials(bases=("DARTS",), datasets=["cifar10", "cifar100"])
    trials += synthetic_trials(bases=("ENAS",))
    [main] = [one for one in observe("wider-faster", trials, wide_is_fast) if one.primary]
    assert (main.cells, main.trials) == (26, 39)
    # 13 cells have both datasets, 13 have one.
    assert dict(zip(main.datasets, main.weights, strict=True)) == {
        "cifar10": pytest.approx(0.75),
        "cifar100": pytest.approx(0.25),
    }
    assert (main.data, main.departures) == ("cifar10 75 %, cifar100 25 %", "30 epochs (not 600)")


def test_the_substitutes_of_one_profile_are_combined_like_what_they_stand_for(observe):
    trials = synthetic_trials(bases=("DARTS",), datasets=["digits", "digit_pairs"])
    [main] = [one for one in observe("wider-faster", trials, wide_is_fast, **LAPTOP) if one.primary]
    assert main.weights == (0.5, 0.5)
    assert main.reading.endswith("the claim is about cifar10 and cifar100")


def test_another_dataset_of_the_papers_is_no_test_of_what_it_says_of_cifar10(observe):
    trials = synthetic_trials(datasets=["cifar10", "cifar100"])
    one, other = observe(
        "bases-competitive", trials, lambda t: curve(1.0, final=0.8 + 0.1 * (t.index == 0))
    )
    assert (one.datasets, one.verdict) == (("cifar10",), "supported")
    assert (other.datasets, other.verdict) == (("cifar100",), "not testable")


def test_a_learning_rate_that_is_not_the_papers_is_named(observe):
    trials = synthetic_trials(rates=(0.1,))
    main = observe("wider-faster", trials, wide_is_fast)[0]
    assert main.departures == "30 epochs (not 600), learning rate 0.1"
