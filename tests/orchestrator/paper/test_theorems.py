"""The bound of Theorem 4.1 of real trials, beside the theorem's sum written out step by step."""

import math

import pytest
from small_trials import TRAIN, few_digits

from orchestrator.paper.theorems import TrialBound, trial_bounds
from results_schema.results import Results


@pytest.fixture
def results(studied) -> Results:
    return Results(studied)


@pytest.fixture
def bounds(results) -> list[TrialBound]:
    tables = (results.trials, results.surfaces, results.points, results.metrics)
    with few_digits():
        return trial_bounds(*(table("small") for table in tables))


def test_the_bound_is_the_theorems_sum_over_steps(results, bounds):
    one = bounds[0]
    surfaces = results.surfaces("small")
    mine = surfaces[(surfaces["trial_id"] == one.trial_id) & (surfaces["status"] == "done")]
    curved = mine[mine["kind"] == "curvature"]
    smoothness = max(
        *curved["top_eigenvalue"].abs().tolist(), *curved["bottom_eigenvalue"].abs().tolist()
    )
    varied = mine[mine["kind"] == "gradient_variance"]
    batch = min(480, TRAIN)
    sigma2 = max(varied["variance"]) / batch * (TRAIN - batch) / (TRAIN - 1)
    f0 = varied.set_index("epoch")["loss"][0]
    start = noise = total = 0.0
    for epoch in (1, 2):
        rate = 0.5 * 0.025 * (1 + math.cos(math.pi * (epoch - 1) / 2))
        for _ in range(math.ceil(TRAIN / 480)):
            total += rate
            noise += smoothness * sigma2 * rate**2
    start, noise = 2 * f0 / total, noise / total
    assert (one.smoothness, one.variance, one.f0) == pytest.approx((smoothness, sigma2, f0))
    assert (one.start, one.noise, one.bound) == pytest.approx((start, noise, start + noise))
    assert one.rates == pytest.approx(total)
    assert one.within == (1.0 if 1 / smoothness > 0.025 else 0.5)
    assert not one.lacking


def test_the_measured_side_is_weighted_by_the_rates(results, bounds):
    rows = results.metrics("small")
    rows = rows[rows["trial_id"] == bounds[0].trial_id]
    wanted = (rows["rate"] * rows["grad_norm"] ** 2).sum() / rows["rate"].sum()
    assert bounds[0].measured == pytest.approx(wanted)
    points = results.points("small")
    last = points[points["surface_id"].str.contains("@e2-gradient_variance")]
    assert bounds[0].final == pytest.approx(float(last["gradient_norm"].iloc[0]) ** 2)


def test_what_was_not_measured_is_told_and_nothing_is_made_up(bounds):
    other = bounds[1]
    assert other.lacking == ("curvature", "gradient variance", "the loss at epoch 0")
    assert math.isnan(other.bound)
    assert other.record()["bound"] is None
    assert other.record()["measured"] > 0
