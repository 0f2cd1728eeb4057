"""Rough durations: their arithmetic, not their truth."""

from orchestrator.planning.estimate import multiply_adds, seconds
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def spec(epochs: int) -> TrialSpec:
    return TrialSpec(named("DARTS"), "cifar10", 1, NetworkSpec(), Recipe(epochs), 0.025, 0)


def test_a_trial_of_the_paper_counts_three_passes_a_training_image_and_one_a_test_image():
    forward = multiply_adds(spec(1)) / (3 * 50_000 + 10_000)
    assert abs(forward / 528.4e6 - 1) < 1e-3, "of DARTS at C = 36, L = 20"
    assert multiply_adds(spec(600)) == 600 * multiply_adds(spec(1))


def test_a_gpu_takes_20_seconds_an_epoch_of_the_papers_network():
    assert seconds(spec(1), "cuda") == 20
