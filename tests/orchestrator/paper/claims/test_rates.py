"""What happens at 0.25 and at 0.0025."""

import pytest
from synthetic_stores import curve, synthetic_trials

EFFECTS = [(1, "supported"), (-1, "contradicted"), (0, "undecided")]
FOUR = {"bases": ("DARTS",), "connections": "main_text"}


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
def test_the_lead_of_the_wide_grows(say, sign, verdict):
    def accuracies(t):
        grows = sign * 0.1 * t.width * (t.spec.learning_rate > 0.1)
        return curve(0.3 + grows + 0.03 * t.rng.standard_normal(3)[2])

    trials = synthetic_trials(rates=(0.025, 0.25), bases=("DARTS", "ENAS", "AmoebaNet"))
    [main] = say("larger-at-high-rate", trials, accuracies)
    assert (main.verdict, main.trials) == (verdict, 78)


@pytest.mark.parametrize(("sign", "verdict"), EFFECTS)
@pytest.mark.parametrize("how", ["diverged", "stuck"])
def test_the_narrow_fail(say, sign, verdict, how):
    def fails(t):
        high = t.spec.learning_rate > 0.1 and t.index > 0
        return high and (sign * t.width < 0 if sign else t.rng.random() < 0.3)

    def accuracies(t):
        return curve(0.3, final=0.1 if how == "stuck" and fails(t) else 0.9)

    trials = synthetic_trials(rates=(0.025, 0.25), bases=("DARTS", "ENAS"))
    more = {"diverged": fails} if how == "diverged" else {}
    [main] = say("narrow-fail-at-high-rate", trials, accuracies, **more)
    assert main.verdict == verdict
    assert "narrow and" in main.reading


def test_without_a_base_nobody_knows_what_failing_is(say):
    trials = [t for t in synthetic_trials(**FOUR, rates=(0.25,), seeds=range(5)) if t.index]
    [main] = say("c3-fails-at-high-rate", trials, lambda t: curve(0.3, final=0.1))
    assert main.verdict == "no data"


def test_lost_at_both_rates_is_no_change(say):
    trials = synthetic_trials(rates=(0.025, 0.25), bases=("DARTS", "ENAS"))
    [main] = say(
        "larger-at-high-rate",
        trials,
        lambda t: curve(0.3 + 0.01 * t.rng.random()),
        diverged=lambda t: t.index in (1, 2),
    )
    assert main.trials == 2 * 26
    assert main.diverged == 2 * 2 * 2
    # Were they taken for the worst, the narrowest would make it large.
    assert abs(main.size) < 0.5


@pytest.mark.parametrize(
    ("fails", "seeds", "verdict"),
    [
        (True, range(3), "supported"),
        (False, range(3), "contradicted"),
        (True, [0], "undecided"),
    ],
)
def test_c3_fails(say, fails, seeds, verdict):
    trials = synthetic_trials(
        **FOUR, rates=(0.025, 0.25), datasets=("cifar10", "cifar100"), seeds=seeds
    )

    def lost(t):
        return fails and t.variant == "CONN3" and t.spec.learning_rate > 0.1

    main, *each = say("c3-fails-at-high-rate", trials, lambda t: curve(0.3), diverged=lost)
    assert main.verdict == verdict
    assert main.trials == 2 * len(seeds)
    assert main.diverged == (main.trials if fails else 0)
    assert [one.trials for one in each] == [len(seeds)] * 2


@pytest.mark.parametrize(
    ("sign", "seeds", "verdict"),
    [(1, range(2), "supported"), (-1, range(2), "contradicted"), (1, [0], "undecided")],
)
def test_the_order_persists(say, sign, seeds, verdict):
    place = {"DARTS": 2, "CONN1": 1, "CONN3": 0}
    trials = synthetic_trials(**FOUR, rates=(0.0025,), seeds=seeds)
    speed = {"accuracies": lambda t: curve(0.3 + 0.05 * sign * place.get(t.variant, 0))}
    main = say("order-at-low-rate", trials, **speed)[0]
    assert main.verdict == verdict
    assert main.size == sign
