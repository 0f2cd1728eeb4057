"""Do connections matter more than operations?"""

import pytest
from synthetic_stores import curve, synthetic_trials


@pytest.mark.parametrize(
    ("connections", "operations", "verdict"),
    [(0.06, 0.004, "supported"), (0.004, 0.06, "contradicted"), (0.02, 0.02, "undecided")],
)
def test_spreads(say, connections, operations, verdict):
    def accuracies(t):
        size = operations if t.variant.lower().startswith("ops") else connections
        return curve(0.15 + (t.index > 0) * size * t.rng.standard_normal())

    trials = synthetic_trials(operations=True, bases=("DARTS", "ENAS", "AmoebaNet"))
    found = say("operations-alike", trials, accuracies)
    main = next(one for one in found if one.primary)
    assert main.verdict == verdict
    assert "of the variance" in main.reading
    equal = next(one for one in found if "one-sided" in one.statistic)
    if verdict == "supported":
        assert equal.p < 0.05


def test_variants_that_never_arrive_are_told(say):
    def accuracies(t):
        return curve(0.1 + 0.02 * t.rng.standard_normal())

    trials = synthetic_trials(operations=True, bases=("DARTS",))
    lost = {t.spec.trial_id for t in trials if t.index in (3, 4)}
    found = say("operations-alike", trials, accuracies, diverged=lambda t: t.spec.trial_id in lost)
    assert found[0].diverged == 4
    assert "infinite left out" in found[0].reading


def test_one_kind_alone_is_no_data(say):
    [one] = say("operations-alike", synthetic_trials(), lambda t: curve(0.3))
    assert one.verdict == "no data"
