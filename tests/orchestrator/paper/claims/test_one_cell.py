"""Bases against their variants: places, distances, leads, peaks."""

import pytest
from synthetic_stores import curve, synthetic_trials

EFFECTS = [(1, "supported"), (-1, "contradicted"), (0, "undecided")]


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_bases_lead(say, sign, verdict):
    def accuracies(t):
        lead = sign * (t.index == 0)
        return curve(
            0.3 + 0.1 * lead + 0.02 * t.rng.standard_normal(),
            final=0.9 + 0.05 * lead + 0.01 * t.rng.standard_normal(),
            jitter=0.01 - 0.008 * lead,
            rng=t.rng,
        )

    claims = "base-fastest base-stablest bases-competitive"
    found = say(claims, synthetic_trials(), accuracies)
    assert [one.verdict for one in found] == [verdict] * 3
    assert found[0].trials == 56
    if sign == 1:
        assert "DARTS 1 of 14" in found[0].reading


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_variants_approach_their_base(say, sign, verdict):
    def accuracies(t):
        apart = 0 if t.index == 0 else 0.1 - 0.05 * sign * t.width
        return curve(0.3, final=0.9 - apart - 0.02 * t.rng.random())

    assert say("variants-approach-base", synthetic_trials(), accuracies)[0].verdict == verdict


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_accuracy_peaks_in_the_middle(say, sign, verdict):
    def accuracies(t):
        bend = -sign * 0.3 * (t.width + 0.2) ** 2
        return curve(1.0, final=0.7 + 0.5 * bend + 0.01 * t.rng.standard_normal())

    main, *others = say("peak-at-middle", synthetic_trials(), accuracies)
    assert main.verdict == verdict
    counted = next(one for one in others if one.measure.startswith("bases whose best"))
    assert not counted.primary
    assert "without an effect" in counted.reading


def leads(lead, noise=0.004):
    def accuracies(t):
        better = lead if t.variant in ("seed 5", "seed 6") else 0.0
        return curve(1.0, final=0.8 + better + noise * t.rng.standard_normal())

    return accuracies


def test_one_seed_cannot_tell_that_variants_beat_their_base(say):
    some, none = say("some-variants-beat-base none-beats-amoebanet", synthetic_trials(), leads(0))
    assert {some.verdict, none.verdict} == {"undecided"}
    assert "without an effect 93% would" in some.reading


def test_seeds_can(say):
    trials = synthetic_trials(seeds=range(4), bases=("DARTS", "AmoebaNet"))
    found = say("some-variants-beat-base none-beats-amoebanet", trials, leads(0.05))
    some, none = (one for one in found if one.primary)
    assert (some.verdict, none.verdict) == ("supported", "contradicted")
    assert some.size == pytest.approx(0.05, abs=0.01)
    assert 0 < some.low < some.size


def test_seeds_without_a_lead_do_not(say):
    trials = synthetic_trials(seeds=range(4), bases=("DARTS",))
    found = say("some-variants-beat-base", trials, leads(0))
    assert next(one for one in found if one.primary).verdict == "undecided"


def test_a_variant_that_mostly_diverged_does_not_lead_by_its_survivors(say):
    trials = synthetic_trials(bases=("DARTS",), seeds=range(5))

    def accuracies(t):
        best = t.variant == "seed 7"
        return curve(1.0, final=(0.95 if best else 0.8) + 0.002 * t.rng.standard_normal())

    main, *_ = say(
        "some-variants-beat-base",
        trials,
        accuracies,
        diverged=lambda t: t.variant == "seed 7" and t.spec.seed < 3,
    )
    assert main.verdict != "supported"


def test_one_diverged_seed_of_the_base_is_no_infinite_lead(say):
    trials = synthetic_trials(bases=("DARTS",), seeds=range(3))
    found = say(
        "some-variants-beat-base",
        trials,
        lambda t: curve(1.0, final=0.8 + 0.01 * t.rng.standard_normal()),
        diverged=lambda t: t.index == 0 and t.spec.seed == 0,
    )
    assert "inf" not in " ".join(one.reading for one in found)
