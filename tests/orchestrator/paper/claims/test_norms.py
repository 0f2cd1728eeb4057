"""Spectral norms of checkpoints, read without torch."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from hypothesis import given
from hypothesis import strategies as st
from synthetic_stores import EPOCHS, curve, synthetic_trials
from torch import nn

from orchestrator.paper.claims.norms import Layer, operator_norm, spectral_norms
from results_schema import layout
from results_schema.genotype import Cell, Edge, Genotype
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.data.catalog import describe
from workers.network.network import build_network

OPERATIONS = [
    "sep_conv_3x3", "sep_conv_5x5", "sep_conv_7x7", "dil_conv_3x3", "dil_conv_5x5",
    "skip_connect", "conv_7x1_1x7", "conv_3x3", "conv_1x1", "conv_1x3_3x1",
]  # fmt: skip


def as_matrix(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a layer without bias does to one image, column by column."""
    basis = torch.eye(x[0].numel(), dtype=x.dtype).view(-1, *x.shape[1:])
    return layer(basis).flatten(1).T


def test_norms_are_those_of_the_layers_as_operators():
    # Both edges of a node carry its operation, one from an input.
    edges = [(Edge(op, node % 2), Edge(op, node - 1)) for node, op in enumerate(OPERATIONS, 2)]
    cell = Cell(tuple(edges), (len(edges) + 1,))
    spec = TrialSpec(
        Genotype(cell, cell), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=1), 0.025, 0
    )
    data = describe("digits")
    network = build_network(
        spec.genotype, spec.network, in_channels=data.channels, classes=data.classes, seed=0
    ).double()
    seen: dict[str, torch.Tensor] = {}
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.register_forward_hook(
                lambda layer, x, y, name=name: seen.update({f"{name}.weight": x[0].detach()})
            )
    with torch.no_grad():
        network(torch.zeros(2, data.channels, data.size, data.size, dtype=torch.float64))
        layers = dict(network.named_modules())
        expected = {}
        for name, x in seen.items():
            layer = layers[name.removesuffix(".weight")]
            matrix = layer.weight if x.ndim == 2 else as_matrix(layer, x)
            expected[name] = float(torch.linalg.matrix_norm(matrix, 2))
    tensors = {name: value.detach().numpy() for name, value in network.named_parameters()}
    found = spectral_norms(tensors | {f"momentum.{k}": v for k, v in tensors.items()}, spec)
    assert found == pytest.approx(expected, rel=1e-4)
    depthwise = [name for name in found if tensors[name].shape[1:] in {(1, 5, 5), (1, 7, 7)}]
    reshaped = [np.linalg.norm(tensors[k].reshape(len(tensors[k]), -1), 2) for k in depthwise]
    assert max(abs(found[k] / r - 1) for k, r in zip(depthwise, reshaped, strict=True)) > 0.2


@given(st.integers(0, 2**32 - 1), st.sampled_from([3, 5, 7]))
def test_the_norm_of_a_depthwise_kernel_is_that_of_its_largest_channel(seed: int, size: int):
    kernel = np.random.default_rng(seed).standard_normal((5, 1, size, size))
    layer = Layer(9, 9, (1, 1), depthwise=True)
    alone = [operator_norm(kernel[i : i + 1], layer) for i in range(5)]
    assert operator_norm(kernel, layer) == max(alone)


def test_dead_layers_and_what_is_no_weight_are_left_out():
    spec = synthetic_trials(bases=("AmoebaNet_ADAPT",), connections=None)[0].spec
    kernel = np.ones((2, 1, 3, 3), dtype=np.float32)
    found = spectral_norms(
        {
            "classifier.weight": np.diag([1.0, -3.0]),
            "cells.0.operations.2.1.weight": kernel,  # into node 3, which is dead
            "cells.0.operations.4.1.weight": kernel,
            "cells.0.operations.4.operation.weight": kernel,
            "momentum.classifier.weight": np.eye(2),
            "bias": np.ones(3),
            "stem.0.weight": np.full((2, 3, 3, 3), np.nan),
            "count": np.ones((2, 2), dtype=np.int64),
        },
        spec,
    )
    assert set(found) == {
        "classifier.weight", "cells.0.operations.4.1.weight", "stem.0.weight"
    }  # fmt: skip
    assert found["classifier.weight"] == pytest.approx(3)
    assert 8 < found["cells.0.operations.4.1.weight"] < 9
    assert np.isnan(found["stem.0.weight"])


WEIGHTS = safetensors.numpy.save({"classifier.weight": np.eye(2, dtype="f4")})


@pytest.mark.parametrize(
    ("epoch", "content", "cells"),
    [(EPOCHS, b"nonsense", 0), (EPOCHS - 1, WEIGHTS, 0), (EPOCHS, WEIGHTS, 1)],
)
def test_a_trial_is_judged_by_its_last_checkpoint_if_that_is_sound(observe, epoch, content, cells):
    trials = synthetic_trials(bases=("DARTS",), connections=None)
    name = trials[0].spec.trial_id

    def fill(store):
        store.put(layout.tensors(name, epoch), content)
        store.put(layout.state(name, epoch), b"{}")

    [one] = observe("norms-above-one", trials, lambda t: curve(0.3), fill=fill)
    assert (one.cells, one.verdict == "no data") == (cells, not cells)
