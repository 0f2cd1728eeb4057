import math

import pytest

from results_schema.trial import Recipe
from workers.training.engine import cosine_lr, scheduled_lr


def test_the_rate_falls_as_half_a_cosine():
    rates = [cosine_lr(0.025, epoch, 600) for epoch in range(1, 601)]
    assert rates[0] == 0.025
    assert rates[300] == pytest.approx(0.0125)
    assert rates[150] == pytest.approx(0.0125 * (1 + math.sqrt(0.5)))
    assert rates == sorted(rates, reverse=True)
    assert 0 < rates[-1] < 0.025 * 1e-5
    assert cosine_lr(0.3, 1, 1) == 0.3


def test_other_schedules_end_at_nothing_or_never_fall():
    shifted = [scheduled_lr(Recipe(epochs=4, schedule="cosine_shifted"), 0.2, e) for e in (1, 4)]
    assert shifted == [cosine_lr(0.2, 2, 4), 0.0]
    steady = Recipe(epochs=4, schedule="constant")
    assert [scheduled_lr(steady, 0.2, epoch) for epoch in (1, 4)] == [0.2, 0.2]
