"""The layer-wise variance is that of gradients taken one image at a time."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from small_landscapes import (
    GENOTYPES,
    NOISY,
    distances,
    instance_gradients,
    instances,
    moved,
    network,
)

from results_schema.errors import DataError, SpecError
from workers.cells.bases import named
from workers.landscape.directions import draw_directions
from workers.landscape.gradient_variance import (
    GradientVariance,
    Moments,
    minibatch_variance,
    squared_norms,
)

F64 = torch.float64
POINTS = [(0.0, 0.0), (0.3, -0.2)]


def compare(trained, images, labels, *, batch: int, auxiliary: float = 0.0):
    """Measures and differentiates image by image at each point."""
    directions = draw_directions(trained, seed=3)
    measured = GradientVariance(
        trained, directions, images, labels, dtype=F64, batch=batch, auxiliary=auxiliary
    )
    for alpha, beta in POINTS:
        point = measured.at(alpha, beta, by_parameter=True)
        at = moved(trained, directions, alpha, beta)
        gradients = instance_gradients(at, images, labels, auxiliary)
        for found, vectors in ((point.whole, True), (point.weights, False)):
            apart = distances(gradients, vectors=vectors)
            assert found.value == pytest.approx(float(apart.mean()), rel=1e-12)
            means = [g.mean(0) for g in gradients.values() if vectors or g.dim() > 2]
            norm = float(torch.stack([m.square().sum() for m in means]).sum().sqrt())
            assert found.mean_norm == pytest.approx(norm, rel=1e-12)
        for name, gradient in gradients.items():
            wanted = gradient.var(0, correction=0).sum().item()
            close = pytest.approx(wanted, rel=1e-10, abs=1e-12 * point.whole.value)
            assert point.parameters.get(name, 0) == close, name
        with torch.no_grad():
            logits = at(images)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert point.loss == pytest.approx(float(loss), rel=1e-12)
        assert point.accuracy == float((logits.argmax(1) == labels).double().mean())


@pytest.mark.parametrize("name", GENOTYPES)
def test_it_equals_a_loop_over_instances(name: str):
    images, labels = instances(5, 8)
    compare(network(GENOTYPES[name]), images, labels, batch=3)


@pytest.mark.parametrize("name", [name for name in GENOTYPES if name != "all"])
def test_it_equals_a_loop_over_instances_with_the_auxiliary_head(name: str):
    images, labels = instances(3, 32)
    trained = network(GENOTYPES[name], auxiliary=True)
    compare(trained, images, labels, batch=2, auxiliary=0.4)


def test_an_auxiliary_head_without_a_weight_is_dropped():
    images, labels = instances(4, 32)
    trained = network(named("DARTS"), auxiliary=True)
    compare(trained, images, labels, batch=4)


def test_parameters_that_lead_to_noise_alone_do_not_vary():
    images, labels = instances(4, 8)
    trained = network(NOISY)
    directions = draw_directions(trained, seed=0)
    measured = GradientVariance(trained, directions, images, labels, dtype=F64)
    point = measured.at(0.1, 0.1, by_parameter=True)
    assert point == measured.at(0.1, 0.1, by_parameter=True)
    assert point.parameters["cells.2.operations.2.2.weight"] > 0
    assert "cells.2.preprocess0.1.weight" not in point.parameters


@pytest.mark.parametrize("batch", [1, 5, 6, 12])
@pytest.mark.parametrize("auxiliary", [0.0, 0.4])
def test_the_standard_error_is_that_of_the_mean_distance_whatever_the_batch(batch, auxiliary):
    images, labels = instances(12, 32 if auxiliary else 8)
    trained = network(named("SNAS"), auxiliary=auxiliary > 0)
    directions = draw_directions(trained, seed=0)
    measured = GradientVariance(
        trained, directions, images, labels, dtype=F64, batch=batch, auxiliary=auxiliary
    )
    for alpha, beta in POINTS:
        at = moved(trained, directions, alpha, beta)
        gradients = instance_gradients(at, images, labels, auxiliary)
        point = measured.at(alpha, beta, error=True)
        for found, vectors in ((point.whole, True), (point.weights, False)):
            apart = distances(gradients, vectors=vectors)
            assert found.value == pytest.approx(float(apart.mean()), rel=1e-12)
            assert found.standard_error == pytest.approx(float(apart.std()) / 12**0.5, rel=1e-11)


def test_without_a_second_pass_there_is_no_standard_error():
    images, labels = instances(4, 8)
    trained = network(named("SNAS"))
    point = GradientVariance(trained, draw_directions(trained, 0), images, labels).at(0, 0)
    assert math.isnan(point.whole.standard_error)
    assert math.isnan(point.weights.standard_error)


def test_the_standard_error_of_noisy_cells_is_of_the_noise_that_the_variance_had():
    images, labels = instances(4, 8)
    trained = network(NOISY)
    directions = draw_directions(trained, seed=0)
    halves, whole = (
        GradientVariance(trained, directions, images, labels, dtype=F64, batch=batch)
        for batch in (2, 4)
    )
    for measured in (halves, whole):
        point = measured.at(0.1, 0.1, error=True)
        assert point.whole.value == measured.at(0.1, 0.1).whole.value
        assert 0 < point.whole.standard_error < point.whole.value


def test_the_standard_error_covers_the_spread_over_subsets():
    images, labels = instances(240, 8)
    trained = network(named("SNAS"))
    directions = draw_directions(trained, seed=0)
    points = [
        GradientVariance(trained, directions, *part, dtype=F64, batch=20).at(0, 0, error=True).whole
        for part in zip(images.split(40), labels.split(40), strict=True)
    ]
    spread = torch.tensor([point.value for point in points]).std()
    claimed = torch.tensor([point.standard_error for point in points]).mean()
    assert 0.4 < spread / claimed < 2.5


def test_a_single_instance_does_not_vary_and_says_nothing_of_its_error():
    images, labels = instances(1, 8)
    trained = network(named("DARTS"))
    measured = GradientVariance(trained, draw_directions(trained, 0), images, labels)
    point = measured.at(0, 0, error=True)
    assert point.whole.value == 0
    assert math.isnan(point.whole.standard_error)
    assert minibatch_variance(point.whole.value, 1, 1) == 0


def test_a_minibatch_varies_as_all_its_draws_do():
    images, labels = instances(5, 8)
    gradients = instance_gradients(network(named("DARTS")), images, labels)
    flat = torch.cat([g.flatten(1) for g in gradients.values()], dim=1)
    pairs = torch.combinations(torch.arange(5), 2)
    means = flat[pairs].mean(1)
    drawn = (means - flat.mean(0)).square().sum(1).mean()
    variance = float(distances(gradients).mean())
    assert minibatch_variance(variance, 2, 5) == pytest.approx(float(drawn), rel=1e-12)
    assert minibatch_variance(variance, 5, 5) == 0
    with pytest.raises(SpecError, match="6 out of 5"):
        minibatch_variance(variance, 6, 5)


@pytest.mark.parametrize(("cells", "bound"), [(5, 1e-5), (20, 5e-3)])
def test_float32_is_close_to_float64(cells: int, bound: float):
    images, labels = instances(16, 8)
    trained = network(named("DARTS"), cells=cells, channels=4)
    directions = draw_directions(trained, seed=0)
    for alpha, beta in POINTS:
        single, double = (
            GradientVariance(trained, directions, images, labels, dtype=dtype).at(alpha, beta)
            for dtype in (torch.float32, F64)
        )
        assert single.loss == pytest.approx(double.loss, rel=1e-5)
        assert single.whole.value == pytest.approx(double.whole.value, rel=bound)
        assert single.weights.value == pytest.approx(double.weights.value, rel=bound)


def test_squares_that_overflow_float32_do_not():
    images, labels = instances(6, 8)
    trained = network(named("DARTS"))
    directions = draw_directions(trained, seed=0)
    single, double = (
        GradientVariance(trained, directions, images * 1e21, labels, dtype=dtype).at(0, 0)
        for dtype in (torch.float32, F64)
    )
    assert double.whole.value > 1e39
    assert single.whole.value == pytest.approx(double.whole.value, rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_give_results_that_are_not(value: float):
    images, labels = instances(4, 8)
    trained = network(named("DARTS"))
    with torch.no_grad():
        trained.get_parameter("stem.0.weight")[0, 0, 0, 0] = value
    point = GradientVariance(trained, draw_directions(trained, 0), images, labels).at(0, 0)
    assert not torch.isfinite(torch.tensor([point.loss, point.whole.value])).any()


def test_no_images_and_too_few_labels_are_refused():
    images, labels = instances(4, 8)
    trained = network(named("DARTS"))
    directions = draw_directions(trained, 0)
    with pytest.raises(DataError, match="0 images"):
        GradientVariance(trained, directions, images[:0], labels[:0])
    with pytest.raises(DataError, match="4 images with 3 labels"):
        GradientVariance(trained, directions, images, labels[:3])
    with pytest.raises(SpecError, match="no auxiliary head"):
        GradientVariance(trained, directions, images, labels, auxiliary=0.4)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=5), st.floats(-1e6, 1e6))
def test_batches_merge_to_the_moments_of_all(sizes, offset):
    draws = torch.Generator().manual_seed(0)
    rows = torch.randn(sum(sizes), 4, generator=draws, dtype=torch.float64) + offset
    total, by_entry = Moments(), Moments(by_entry=True)
    for batch in rows.split(sizes):
        total.add(batch.clone())
        by_entry.add(batch.clone())
    wanted = (rows - rows.mean(0)).square().sum(0)
    assert total.count == len(rows)
    torch.testing.assert_close(total.mean, rows.mean(0), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(by_entry.scatter, wanted, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(total.scatter, wanted.sum(), rtol=1e-8, atol=1e-8)


def test_squares_beyond_float32_are_kept_in_float64():
    vectors = torch.tensor([[3e30, 1.0], [-3e30, 1.0]])
    wanted = torch.full((2,), 9e60, dtype=torch.float64)
    torch.testing.assert_close(squared_norms(vectors.clone(), 1), wanted, rtol=1e-6, atol=0)
    moments = Moments()
    moments.add(vectors)
    torch.testing.assert_close(
        moments.scatter, torch.tensor(18e60, dtype=torch.float64), rtol=1e-6, atol=0
    )


def test_equal_vectors_do_not_scatter():
    moments = Moments()
    moments.add(torch.zeros(3, 2))
    assert moments.scatter == 0


def test_what_is_not_finite_gives_nan():
    moments = Moments()
    moments.add(torch.tensor([[float("inf"), 1.0], [0.0, 1.0]]))
    assert moments.scatter.isnan()
