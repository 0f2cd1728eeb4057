"""The layer-wise variance is that of gradients taken one image at a time."""

import json
import math
from collections.abc import Callable
from pathlib import Path

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

from results_schema import plugins
from results_schema.errors import SpecError
from results_schema.genotype import Cell, Edge, Genotype
from workers.cells.bases import named
from workers.landscape.gradient_variance import GradientVariance, Moments, minibatch_variance
from workers.landscape.instances import Instances
from workers.landscape.plane import draw_directions
from workers.network.network import Network

F64 = torch.float64
POINTS = [(0.0, 0.0), (0.3, -0.2)]


def measure(trained, images, labels, *, dtype=F64, batch: int = 80, auxiliary: float = 0.0):
    given = Instances(images, labels, dtype=dtype, batch=batch)
    return GradientVariance(trained, draw_directions(trained, seed=3), given, auxiliary=auxiliary)


def compare(trained, images, labels, *, batch: int, auxiliary: float = 0.0):
    """Measures and differentiates image by image at each point."""
    measured = measure(trained, images, labels, batch=batch, auxiliary=auxiliary)
    for alpha, beta in POINTS:
        point = measured.at(alpha, beta, by_parameter=True, error=True)
        at = moved(trained, draw_directions(trained, seed=3), alpha, beta)
        gradients = instance_gradients(at, images, labels, auxiliary)
        for prefix in ("", "weights_"):
            apart = distances(gradients, vectors=not prefix)
            assert point[f"{prefix}variance"] == pytest.approx(float(apart.mean()), rel=1e-12)
            error = float(apart.std()) / len(images) ** 0.5
            assert point[f"{prefix}standard_error"] == pytest.approx(error, rel=1e-11)
        norms = torch.stack([g.mean(0).square().sum() for g in gradients.values()])
        assert point["gradient_norm"] == pytest.approx(float(norms.sum().sqrt()), rel=1e-12)
        parameters = json.loads(point["by_parameter"])
        for name, gradient in gradients.items():
            wanted = gradient.var(0, correction=0).sum().item()
            close = pytest.approx(wanted, rel=1e-10, abs=1e-12 * point["variance"])
            assert parameters.get(name, 0) == close, name
        with torch.no_grad():
            logits = at(images)
        loss = torch.nn.functional.cross_entropy(logits, labels)
        assert point["loss"] == pytest.approx(float(loss), rel=1e-12)
        assert point["accuracy"] == float((logits.argmax(1) == labels).double().mean())


@pytest.mark.parametrize("name", ["AmoebaNet", "SNAS", "AmoebaNet_ADAPT", "seven", "all"])
def test_it_equals_a_loop_over_instances(name: str):
    images, labels = instances(4, 8)
    compare(network(GENOTYPES[name]), images, labels, batch=3)


def test_it_equals_a_loop_over_instances_with_the_auxiliary_head():
    images, labels = instances(3, 32)
    trained = network(named("DARTS"), auxiliary=True)
    compare(trained, images, labels, batch=2, auxiliary=0.4)
    compare(trained, images, labels, batch=2)


@pytest.mark.parametrize("batch", [1, 5, 6])
def test_it_is_the_same_whatever_the_batch(batch: int):
    compare(network(named("SNAS")), *instances(6, 8), batch=batch)


@pytest.mark.parametrize("batch", [2, 4])
def test_noise_is_the_same_in_both_passes_and_lets_nothing_before_it_vary(batch: int):
    measured = measure(network(NOISY), *instances(4, 8), batch=batch)
    point = measured.at(0.1, 0.1, by_parameter=True, error=True)
    assert point["variance"] == measured.at(0.1, 0.1)["variance"]
    assert 0 < point["standard_error"] < point["variance"]
    parameters = json.loads(point["by_parameter"])
    assert parameters["cells.2.operations.2.2.weight"] > 0
    assert "cells.2.preprocess0.1.weight" not in parameters


def test_without_a_second_pass_there_is_no_standard_error():
    point = measure(network(named("SNAS")), *instances(4, 8)).at(0, 0)
    names = ("standard_error", "weights_standard_error", "by_parameter")
    assert [point[name] for name in names] == [None] * 3


def test_a_single_instance_does_not_vary_and_has_no_error():
    point = measure(network(named("DARTS")), *instances(1, 8)).at(0, 0, error=True)
    assert (point["variance"], minibatch_variance(0.0, 1, 1)) == (0, 0)
    assert math.isnan(point["standard_error"])


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


def test_float32_is_close_to_float64():
    trained = network(named("DARTS"), cells=5, channels=4)
    single, double = (
        measure(trained, *instances(8, 8), dtype=dtype).at(*POINTS[1])
        for dtype in (torch.float32, F64)
    )
    for name in ("loss", "variance", "weights_variance"):
        assert single[name] == pytest.approx(double[name], rel=1e-5)


def test_squares_that_overflow_float32_do_not():
    images, labels = instances(6, 8)
    single, double = (
        measure(network(named("DARTS")), images * 1e21, labels, dtype=dtype).at(0, 0)
        for dtype in (torch.float32, F64)
    )
    assert double["variance"] > 1e39
    assert single["variance"] == pytest.approx(double["variance"], rel=1e-3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_give_results_that_are_not(value: float):
    trained = network(named("DARTS"))
    with torch.no_grad():
        trained.get_parameter("stem.0.weight")[0, 0, 0, 0] = value
    point = measure(trained, *instances(4, 8)).at(0, 0)
    assert not torch.isfinite(torch.tensor([point["loss"], point["variance"]])).any()


def test_an_auxiliary_loss_without_a_head_is_refused():
    with pytest.raises(SpecError, match="no auxiliary head"):
        measure(network(named("DARTS")), *instances(4, 8), auxiliary=0.4)


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


@pytest.mark.parametrize(
    ("vectors", "scatter"),
    [
        ([[3e30, 1.0], [-3e30, 1.0]], 18e60),  # beyond float32
        ([[0.0, 0.0], [0.0, 0.0]], 0.0),
        ([[math.inf, 1.0], [0.0, 1.0]], math.nan),
    ],
)
def test_moments_of_ugly_vectors(vectors: list, scatter: float):
    moments = Moments()
    moments.add(torch.tensor(vectors))
    assert float(moments.scatter) == pytest.approx(scatter, rel=1e-6, nan_ok=True)


RULE = """
import nas_sweep, torch
from torch import nn

class Scaled(nn.Module):
    def __init__(self, channels, stride, affine):
        super().__init__()
        self.stride = stride
        self.scale = nn.Parameter(torch.linspace(0.5, 2, channels))

    def forward(self, x):
        return (x * self.scale[:, None, None])[:, :, :: self.stride, :: self.stride].tanh()

def rule(module, inputs, slopes):
    taken = inputs[:, :, :: module.stride, :: module.stride]
    inner = 1 - (taken * module.scale[:, None, None]).tanh().square()
    return {"scale": FACTOR * (taken * inner * slopes).sum((2, 3))}

nas_sweep.operation("scaled", gradient=rule)(Scaled)

@nas_sweep.operation("grouped")
def grouped(channels, stride, affine):
    return nn.Sequential(
        nn.ReLU(),
        nn.Conv2d(channels, channels, 3, stride, 1, groups=2),
        nn.BatchNorm2d(channels, affine=affine),
        nn.ELU(inplace=True),
    )
"""


@pytest.fixture
def plugged(tmp_path: Path, own_plugins: None) -> Callable[[str], Network]:
    """Loads the plug-in, and returns a network in which both of its operations stand twice."""

    def load(factor: str) -> Network:
        file = tmp_path / "rules.py"
        file.write_text(RULE.replace("FACTOR", factor))
        plugins.load_file(file)
        edges = [Edge("scaled", 0), Edge("grouped", 1), Edge("sep_conv_3x3", 0)]
        cell = Cell((tuple(edges), (Edge("grouped", 2), Edge("scaled", 1))), (2, 3))
        return network(Genotype(cell, cell))

    return load


def test_operations_of_plugins_equal_a_loop_by_their_rule_or_by_torch_func(plugged):
    trained, images, labels = plugged("1"), *instances(4, 8)
    compare(trained, images, labels, batch=3)
    assert measure(trained, images, labels).notes == {
        "gradients": "of single instances by torch.func: operation grouped"
    }
    assert measure(network(named("DARTS")), images, labels).notes == {}


def test_a_wrong_rule_is_not_used(plugged):
    trained, images, labels = plugged("2"), *instances(4, 8)
    compare(trained, images, labels, batch=3)
    assert measure(trained, images, labels).notes["gradients"].endswith("torch.func: the network")
