"""A contour is the loss of setting the weights and evaluating; its parts, one by one."""

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from small_landscapes import GENOTYPES, NOISY, instances, moved, network
from torch import nn

from results_schema.errors import DataError, SpecError
from workers.cells.bases import named
from workers.landscape.contour import Contour, FoldedNetwork, Instances, exact
from workers.landscape.directions import draw_directions
from workers.network.network import Network

F64 = torch.float64
POINTS = [(0.0, 0.0), (1.0, -0.5), (-0.25, 0.75)]


@pytest.mark.parametrize("auxiliary", [False, True])
@pytest.mark.parametrize("name", GENOTYPES)
def test_it_equals_setting_the_weights_and_evaluating(name: str, auxiliary: bool):
    images, labels = instances(7, 8)
    trained = network(GENOTYPES[name], auxiliary=auxiliary)
    directions = draw_directions(trained, seed=1)
    contour = Contour(trained, directions, images, labels, dtype=F64, batch=4)
    for alpha, beta in POINTS:
        with torch.no_grad():
            logits = moved(trained, directions, alpha, beta)(images)
        point = contour.at(alpha, beta)
        assert point.loss == pytest.approx(float(F.cross_entropy(logits, labels)), rel=1e-10)
        assert point.accuracy == float((logits.argmax(1) == labels).double().mean())


def test_a_stem_of_stride_2_folds_too():
    images, labels = instances(3, 16)
    trained = network(named("SNAS"))
    [convolution, _] = trained.stem
    assert isinstance(convolution, nn.Conv2d)
    convolution.stride = (2, 2)
    directions = draw_directions(trained, seed=1)
    with torch.no_grad():
        loss = F.cross_entropy(moved(trained, directions, 0.5, 0.5)(images), labels)
    contour = Contour(trained, directions, images, labels, dtype=F64)
    assert contour.at(0.5, 0.5).loss == pytest.approx(float(loss), rel=1e-10)


def test_float32_is_close_to_float64_and_bfloat16_is_a_preview():
    images, labels = instances(40, 8)
    trained = network(named("DARTS"), cells=20, channels=4)
    directions = draw_directions(trained, seed=0)
    double, single, half = (
        Contour(trained, directions, images, labels, dtype=dtype)
        for dtype in (F64, torch.float32, torch.bfloat16)
    )
    for alpha, beta in POINTS[::2]:
        exact = double.at(alpha, beta).loss
        assert single.at(alpha, beta).loss == pytest.approx(exact, rel=1e-5)
        assert half.at(alpha, beta).loss == pytest.approx(exact, rel=0.1)
        assert half.at(alpha, beta).loss != exact


def test_points_do_not_depend_on_their_order_or_on_the_trained_networks_later_life():
    images, labels = instances(5, 8)
    trained = network(named("ENAS"))
    directions = draw_directions(trained, seed=0)
    contour = Contour(trained, directions, images, labels)
    first = [contour.at(*point) for point in POINTS]
    with torch.no_grad():
        trained.classifier.weight.zero_()
    assert [contour.at(*point) for point in reversed(POINTS)] == first[::-1]


def test_measuring_leaves_the_network_and_the_process_alone():
    images, labels = instances(3, 8)
    trained = network(NOISY).train()
    before = {name: value.clone() for name, value in trained.state_dict().items()}
    state = torch.get_rng_state()
    Contour(trained, draw_directions(trained, 0), images, labels).at(0.5, 0.5)
    assert torch.equal(torch.get_rng_state(), state)
    assert trained.training
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())


def test_noise_is_the_same_at_every_point():
    images, labels = instances(5, 8)
    trained = network(NOISY)
    directions = draw_directions(trained, seed=0)
    contour = Contour(trained, directions, images, labels, batch=2)
    assert contour.at(0.1, 0.2) == contour.at(0.1, 0.2)
    near = abs(contour.at(0, 0).loss - contour.at(1e-6, 0).loss)
    assert 0 < near < 1e-4


def test_a_loss_that_overflows_is_returned_as_it_is():
    images, labels = instances(4, 8)
    trained = network(named("DARTS"))
    contour = Contour(trained, draw_directions(trained, 0), images, labels)
    assert not math.isfinite(contour.at(1e15, 1e15).loss)
    assert math.isfinite(contour.at(0, 0).loss)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_diverged_checkpoint_has_no_finite_loss(value: float):
    images, labels = instances(4, 8)
    trained = network(named("NASNet"))
    with torch.no_grad():
        trained.get_parameter("stem.0.weight")[1] = value
    contour = Contour(trained, draw_directions(trained, 0), images, labels)
    assert not any(math.isfinite(contour.at(*point).loss) for point in POINTS)


def test_no_images_and_no_batch_are_refused():
    images, labels = instances(4, 8)
    trained = network(named("DARTS"))
    directions = draw_directions(trained, 0)
    with pytest.raises(DataError, match="0 images"):
        Contour(trained, directions, images[:0], labels[:0])
    with pytest.raises(SpecError, match="batch of 0"):
        Contour(trained, directions, images, labels, batch=0)


def _folded(trained: Network, **options: Any) -> Network:
    return FoldedNetwork(trained, draw_directions(trained, 0), **options).move(0, 0)


def test_no_normalisation_is_left_to_run():
    folded = _folded(network(GENOTYPES["all"]))
    ran: list[nn.Module] = []
    for module in folded.modules():
        module.register_forward_hook(lambda module, _, __: ran.append(module))
    with torch.inference_mode():
        folded(torch.randn(1, 3, 8, 8))
    assert sum(isinstance(module, nn.Conv2d) for module in ran) > 30
    assert not [module for module in ran if isinstance(module, nn.BatchNorm2d)]


def test_both_heads_answer_as_the_trained_network_does():
    images, _ = instances(2, 32)
    trained = network(named("DARTS"), auxiliary=True)
    folded = _folded(trained, dtype=F64, auxiliary=True)
    with torch.no_grad():
        for ours, theirs in zip(
            folded.forward_with_auxiliary(images),
            trained.forward_with_auxiliary(images),
            strict=True,
        ):
            torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_feature_maps_stay_channels_last():
    folded = _folded(network(named("NASNet"), channels=4))
    strided: list[bool] = []
    for module in folded.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(
                lambda _, __, output: strided.append(
                    output.is_contiguous(memory_format=torch.channels_last)
                )
            )
    with torch.inference_mode():
        folded(torch.randn(2, 3, 16, 16).contiguous(memory_format=torch.channels_last))
    assert strided
    assert all(strided)


@given(st.integers(1, 60), st.integers(2, 20))
def test_batches_are_in_order_small_enough_and_never_of_one_among_several(count, batch):
    images = torch.arange(count).float().view(-1, 1, 1, 1)
    batches = Instances(images, torch.arange(count), dtype=F64, batch=batch)
    sizes = [len(labels) for _, labels in batches]
    assert torch.cat([labels for _, labels in batches]).tolist() == list(range(count))
    assert max(sizes) <= batch
    assert min(sizes) > 1 or count == 1 or batch == 2


CPU = torch.device("cpu")


def test_tf32_is_off_within_and_as_before_afterwards():
    before = (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)
    others = (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic)
    torch.backends.cudnn.allow_tf32 = True
    try:
        with pytest.raises(ZeroDivisionError), exact(CPU):
            assert not torch.backends.cuda.matmul.allow_tf32
            assert not torch.backends.cudnn.allow_tf32
            assert (torch.backends.cudnn.enabled, torch.backends.cudnn.deterministic) == others
            raise ZeroDivisionError
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def test_draws_within_are_the_same_each_time():
    with exact(CPU):
        first = torch.randn(3)
    with exact(CPU):
        assert torch.equal(torch.randn(3), first)
    assert not torch.equal(torch.randn(3), first)
