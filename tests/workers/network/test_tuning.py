from __future__ import annotations

import copy

import pytest
import torch
from small_trials import GENOTYPE
from torch import Tensor, nn

from results_schema.genotype import Genotype
from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network import choice, tuning
from workers.network.convolution import Convolution, Ways
from workers.network.drop_path import DropPath
from workers.network.layout import LAYOUTS, Layout, laid
from workers.network.network import Network, build_network
from workers.network.timing import Work, on_cpu
from workers.network.tuning import Measured, measure, tune

IMAGES = torch.randn(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def network(genotype: Genotype | None = None, **how: bool) -> Network:
    net = build_network(
        genotype or named("ENAS"), NetworkSpec(3, 4), in_channels=1, classes=10, seed=0, **how
    )
    return net.to(memory_format=torch.channels_last)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_known", {})


def at_once(work: Work) -> float:
    """A clock for tests of what is measured, not of how quick it is."""
    work()
    return 1.0


def convolutions(net: Network) -> list[Convolution]:
    return [module for module in net.modules() if isinstance(module, Convolution)]


@pytest.mark.parametrize("deterministic", [False, True])
def test_on_a_cpu_nothing_is_timed_and_nothing_changes(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(tuning, "quickest", None)
    net = network()
    assert "channels last" in tune(net, IMAGES, "fp32", deterministic)
    assert all(module.ways is None for module in convolutions(net))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.timeout(600)
def test_on_a_gpu_the_choice_gives_the_same_as_before(precision: str):
    net = network().cuda()
    images = IMAGES.cuda().contiguous(memory_format=torch.channels_last)
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        before = net(images)
    line = tune(net, images, precision)
    assert "shapes timed" in line and "\n" not in line
    assert "0 shapes timed" in tune(net, images, precision)
    with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bf16"):
        torch.testing.assert_close(net(images), before, rtol=0.05, atol=0.05)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_short_trial_is_not_tuned():
    net = network().cuda()
    assert "100 steps are too few" in tune(net, IMAGES.cuda(), steps=100)
    assert all(module.ways is None for module in convolutions(net))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_deterministic_gpu_is_not_tuned():
    net = network().cuda()
    assert "channels last" in tune(net, IMAGES.cuda(), deterministic=True)
    assert all(module.ways is None for module in convolutions(net))


def test_measuring_changes_nothing_of_the_network():
    net = build_network(GENOTYPE, NetworkSpec(3, 2), in_channels=1, classes=10, seed=0).eval()
    before, drawn = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    measured = measure(net, IMAGES, "fp32", on_cpu)
    assert not net.training
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in before.items())
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(weight.grad is None for weight in net.parameters())
    assert all(module.ways is None for module in convolutions(net))
    assert not any(module._forward_pre_hooks for module in net.modules())
    assert measured.seconds("channels_last") > 0 and measured.frame in LAYOUTS


def test_every_operation_that_runs_is_measured_and_each_shape_timed_once():
    net = network(named("AmoebaNet_ADAPT"))
    ran: set[nn.Module] = set()
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: ran.add(module))
        for module in convolutions(net)
    ]
    net(IMAGES)
    for hook in hooks:
        hook.remove()
    measured = measure(net, IMAGES, "fp32", at_once)
    assert {module for module in measured.times if isinstance(module, Convolution)} == ran
    assert ran < set(convolutions(net)), "some of its edges lead nowhere"
    assert measured.timed < len(measured.times)
    again = measure(network(named("AmoebaNet_ADAPT")), IMAGES, "fp32", at_once)
    assert again.timed == 0
    assert list(again.times.values()) == list(measured.times.values())


def test_the_auxiliary_head_is_measured_with_the_rest():
    net = network(auxiliary=True)
    head = net.auxiliary_head
    assert head is not None
    measured = measure(net, torch.randn(2, 1, 32, 32), "fp32", at_once)
    assert head.features[2] in measured.times


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16")])
def test_convolutions_are_measured_in_the_trials_precision(precision: str, dtype: str):
    seen: set[torch.dtype] = set()

    def clock(work: Work) -> float:
        out = work()
        seen.update(
            t.dtype for t in (out if isinstance(out, tuple) else (out,)) if isinstance(t, Tensor)
        )
        return 1.0

    measure(network(named("DARTS")), IMAGES, precision, clock)
    assert getattr(torch, dtype) in seen


def measured_with(net: Network, ways: Ways, contiguous: float) -> Measured:
    """What would have been found where the given ways, or the other frame, took so long."""
    found = measure(net, IMAGES, "fp32", at_once)
    times: dict[nn.Module, choice.Times] = {
        module: {
            "channels_last": choice.Timed(1.0, frames["channels_last"].ways and ways),
            "contiguous": choice.Timed(contiguous, frames["contiguous"].ways),
        }
        for module, frames in found.times.items()
    }
    return Measured(times, found.timed)


def layouts_between(net: Network) -> set[Layout]:
    """Of all maps that normalisations give out, where a layout can be told."""
    found: set[Layout] = set()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        found.update(name for name in LAYOUTS if laid(output, name).data_ptr() == output.data_ptr())

    hooks = [
        module.register_forward_hook(note)
        for module in net.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    net(IMAGES.contiguous(memory_format=torch.channels_last))
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("name", ["DARTS", "ENAS", "AmoebaNet", "NASNet"])
@pytest.mark.parametrize(("contiguous", "frame"), [(0.9, "contiguous"), (0.98, "channels_last")])
def test_the_quicker_frame_is_taken_and_kept_through_the_network(
    name: str, contiguous: float, frame: Layout
):
    net = network(named(name))
    expected = net.eval()(IMAGES)
    measured = measured_with(net, Ways(), contiguous)
    measured.apply()
    assert measured.frame == frame
    assert layouts_between(net) == {frame}
    torch.testing.assert_close(net(IMAGES), expected, rtol=1e-4, atol=1e-4)


def test_torchs_own_way_costs_no_detour():
    net = network()
    measured_with(net, Ways(), 2.0).apply()
    assert all(module.ways is None for module in convolutions(net))


def test_the_line_of_the_log_tells_what_was_chosen():
    turned = Ways("channels_last", "channels_last", "contiguous", "contiguous", True)
    measured = measured_with(network(), turned, 2.0)
    count, line = len(measured.ways), str(measured)
    assert line.startswith("layout: channels_last (")
    assert f"{1000 * len(measured.times):.2f} ms channels_last" in line
    assert f"input gradient {count}, weight gradient {count}, by a turned kernel {count};" in line
    assert "forward" not in line and "\n" not in line
    assert "otherwise: none;" in str(measured_with(network(), Ways(), 2.0))


def test_a_tuned_network_trains_with_dropped_paths_and_ends_where_an_untuned_one_does():
    losses = []
    for ways in (None, Ways("contiguous", "channels_last", "contiguous", "channels_last")):
        net = network(named("DARTS"))
        if ways:
            measured_with(net, ways, 2.0).apply()
        net = net.double()
        drop_path = DropPath(torch.Generator().manual_seed(0))
        drop_path.probability.fill_(0.2)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.05)
        for _ in range(3):
            optimizer.zero_grad()
            loss = net(IMAGES.double(), drop_path).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert losses[:3] == pytest.approx(losses[3:], rel=1e-9)
