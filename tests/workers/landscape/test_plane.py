"""Layers that an evaluation reads, and directions drawn through their weights."""

import copy

import pytest
import torch
from small_landscapes import DEAD, GENOTYPES, network

from results_schema.errors import SpecError
from workers.cells.bases import named
from workers.landscape.plane import Direction, draw_directions, live_parameters


def same(one: Direction, other: Direction) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", ["AmoebaNet", "DARTS", "all"])
def test_each_filter_has_the_norm_of_its_weights_and_vectors_stay(name: str):
    trained = network(GENOTYPES[name])
    drawn = draw_directions(trained, seed=4)
    for direction in (drawn.first, drawn.second):
        for parameter, weight in live_parameters(trained).items():
            if weight.dim() == 1:
                assert not direction[parameter].any()
                continue
            ours, theirs = (
                tensor.detach().flatten(1).norm(dim=1) for tensor in (direction[parameter], weight)
            )
            torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=0)


def test_filters_point_anywhere_before_they_are_scaled():
    trained = network(named("DARTS"))
    drawn = draw_directions(trained, 0).first
    plain = draw_directions(trained, 0, normalisation="none").first
    for name, weight in plain.items():
        if weight.dim() > 1:
            cosine = torch.cosine_similarity(weight.flatten(1), drawn[name].flatten(1))
            torch.testing.assert_close(cosine, torch.ones_like(cosine))
    everything = torch.cat([weight.flatten() for weight in plain.values() if weight.dim() > 1])
    assert abs(float(everything.mean())) < 0.05
    assert abs(float(everything.std()) - 1) < 0.05


def test_by_layer_the_whole_parameter_has_the_norm():
    trained = network(named("SNAS"))
    drawn = draw_directions(trained, 0, normalisation="layer").first
    plain = draw_directions(trained, 0, normalisation="none").first
    for name, weight in live_parameters(trained).items():
        if weight.dim() > 1:
            wanted = plain[name] * (weight.detach().norm() / plain[name].norm())
            torch.testing.assert_close(drawn[name], wanted)


def test_the_seed_the_pair_and_the_axis_name_the_draw():
    trained = network(named("DARTS"))
    drawn = draw_directions(trained, seed=1, pair=2)
    again = draw_directions(copy.deepcopy(trained), seed=1, pair=2)
    assert same(drawn.first, again.first)
    assert same(drawn.second, again.second)
    assert drawn.cosine == again.cosine
    others = [draw_directions(trained, 1, pair=1), draw_directions(trained, 2, pair=2)]
    for other in (drawn.second, *(axis for o in others for axis in (o.first, o.second))):
        assert not same(drawn.first, other)


def test_precision_does_not_change_the_draw():
    trained = network(named("DARTS")).float()
    single = draw_directions(trained, 0, normalisation="none")
    double = draw_directions(copy.deepcopy(trained).double(), 0, normalisation="none")
    assert same(single.first, double.first)
    assert all(tensor.device.type == "cpu" for tensor in single.first.values())


def test_an_auxiliary_head_has_no_direction_and_changes_no_other():
    with_head = network(named("DARTS"), auxiliary=True)
    without = network(named("DARTS"))
    without.load_state_dict(with_head.state_dict(), strict=False)
    assert same(draw_directions(with_head, 0).first, draw_directions(without, 0).first)


def test_dead_operations_have_no_direction():
    trained = network(DEAD)
    trained(torch.randn(2, 3, 8, 8, dtype=torch.float64)).sum().backward()
    named_weights = trained.named_parameters()
    with_gradient = {name for name, weight in named_weights if weight.grad is not None}
    assert draw_directions(trained, 0).first.keys() == with_gradient
    assert "cells.2.operations.0.1.weight" not in with_gradient


def test_the_cosine_is_that_over_all_parameters():
    drawn = draw_directions(network(named("DARTS")), 0)
    axes = (drawn.first, drawn.second)
    flat = [torch.cat([tensor.flatten() for tensor in axis.values()]) for axis in axes]
    assert drawn.cosine == pytest.approx(float(torch.cosine_similarity(*flat, dim=0)))
    assert abs(drawn.cosine) < 0.2


def test_an_unknown_normalisation_is_named_with_the_known_ones():
    with pytest.raises(SpecError, match=r"'weight'\n.*filter, layer, none"):
        draw_directions(network(named("DARTS")), 0, normalisation="weight")
