from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from workers.network import choice
from workers.network.choice import MARGIN, Sight, Times, quickest
from workers.network.convolution import Convolution, Geometry, Ways
from workers.network.layout import Layout, laid
from workers.network.operations import BatchNorm
from workers.network.timing import Work, on_cpu

SHAPE = 2, 4, 6, 6
DEPTHWISE = Convolution(4, 4, 3, padding=1, groups=4, bias=False)
STRIDED = Convolution(4, 4, 3, 2, 1, groups=4, bias=False)
DENSE = Convolution(4, 8, 1, bias=False)


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "_known", {})


class Clock:
    """Runs the work, and takes from a rule how long it is said to have lasted.

    The rule is given the ways that the convolution went, and whether backward as well.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rule: Callable[[Ways, bool], float]):
        self.went: list[tuple[Ways, bool]] = []
        self._rule, self._convolve = rule, choice.convolve
        monkeypatch.setattr(choice, "convolve", self._note)

    def _note(self, maps: Tensor, weight: Tensor, geometry: Geometry, ways: Ways) -> Tensor:
        self._last = ways, torch.is_grad_enabled()
        return self._convolve(maps, weight, geometry, ways)

    def __call__(self, work: Work) -> float:
        work()
        self.went.append(self._last)
        return self._rule(*self._last)


def times(module: torch.nn.Module, clock: Callable[[Work], float], to_input: bool = True) -> Times:
    sight = Sight(repr(module), SHAPE, torch.float32, "cpu", False, to_input)
    return quickest(sight, module, clock)


def ways(found: Times, frame: Layout) -> Ways:
    chosen = found[frame].ways
    assert chosen is not None
    return chosen


@pytest.mark.parametrize("frame", ["channels_last", "contiguous"])
def test_what_is_as_quick_stays_as_usual(frame: Layout, monkeypatch: pytest.MonkeyPatch):
    clock = Clock(
        monkeypatch,
        lambda ways, backward: 1.0 if ways == Ways(frame, frame, frame, frame) else 0.98,
    )
    assert MARGIN < 0.98
    assert ways(times(DEPTHWISE, clock), frame) == Ways(frame, frame, frame, frame)


def test_each_pass_is_chosen_by_itself(monkeypatch: pytest.MonkeyPatch):
    """A weight's gradient that is quick where maps are contiguous, and a quick turned kernel."""

    def rule(ways: Ways, backward: bool) -> float:
        forward = 1.0 if ways.forward == "channels_last" else 2.0
        weights = 5.0 if ways.weights == "channels_last" else 1.0
        inputs = 1.0 if ways.flipped and ways.inputs == "channels_last" else 3.0
        return forward + (weights + inputs) * backward

    found = times(DEPTHWISE, Clock(monkeypatch, rule))
    best = "channels_last", "channels_last", "contiguous", True
    assert ways(found, "channels_last") == Ways("channels_last", *best)
    assert ways(found, "contiguous") == Ways("contiguous", *best)
    assert found["channels_last"].seconds == 3.0


def test_only_what_can_differ_is_tried(monkeypatch: pytest.MonkeyPatch):
    clock = Clock(monkeypatch, lambda ways, backward: 1.0)
    times(STRIDED, clock)
    assert not any(ways.flipped for ways, _ in clock.went)
    assert len({ways for ways, backward in clock.went if backward}) == 8
    clock.went.clear()
    times(DENSE, clock)
    assert {ways.inputs == ways.weights for ways, _ in clock.went} == {True}
    clock.went.clear()
    times(DEPTHWISE, clock, to_input=False)
    assert {ways.inputs == ways.weights for ways, _ in clock.went} == {True}
    assert not any(ways.flipped for ways, _ in clock.went)


def test_what_no_library_can_do_is_passed_over(monkeypatch: pytest.MonkeyPatch):
    def rule(ways: Ways, backward: bool) -> float:
        if ways.forward == "contiguous" and ways.frame == "channels_last":
            raise RuntimeError("no engine for this")
        return 1.0 if ways.weights == "contiguous" else 2.0

    chosen = ways(times(DEPTHWISE, Clock(monkeypatch, rule)), "channels_last")
    assert chosen.weights == "contiguous"
    assert chosen.forward == "channels_last"


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_what_must_work_is_not_passed_over(
    error: type[RuntimeError], monkeypatch: pytest.MonkeyPatch
):
    """Out of memory, or the usual way broken: nothing is remembered, and the next may try again."""

    def rule(ways: Ways, backward: bool) -> float:
        if error is torch.OutOfMemoryError or ways == Ways():
            raise error("broken")
        return 1.0

    with pytest.raises(error, match="broken"):
        times(DEPTHWISE, Clock(monkeypatch, rule))
    with monkeypatch.context() as again:
        assert times(DEPTHWISE, Clock(again, lambda ways, backward: 1.0))


def test_several_threads_time_a_shape_once():
    calls: list[Work] = []

    def clock(work: Work) -> float:
        calls.append(work)
        return on_cpu(work)

    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda module: times(module, clock), [DEPTHWISE] * 8))
    alone = len(calls)
    assert all(one is found[0] for one in found)
    times(STRIDED, clock)
    assert alone < len(calls) <= 2 * alone


def test_shapes_types_and_places_are_told_apart():
    sight = Sight(repr(DENSE), SHAPE, torch.float32, "cpu", False, True)
    others = [
        sight._replace(operation=repr(DEPTHWISE)),
        sight._replace(shape=(3, 4, 6, 6)),
        sight._replace(dtype=torch.bfloat16),
        sight._replace(device="cuda:0"),
        sight._replace(tf32=True),
        sight._replace(to_input=False),
    ]
    assert len({sight, *others}) == 7


@pytest.fixture
def drawn_before() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.usefixtures("drawn_before")
def test_normalisation_is_timed_in_training_and_its_statistics_stay():
    norm = BatchNorm(4).eval()
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    seen: list[bool] = []
    norm.register_forward_hook(lambda module, inputs, output: seen.append(module.training))
    found = times(norm, on_cpu)
    assert set(seen) == {True} and not norm.training
    assert all(times.seconds > 0 and times.ways is None for times in found.values())
    assert all(torch.equal(norm.state_dict()[name], tensor) for name, tensor in before.items())
    assert all(weight.grad is None for weight in norm.parameters())


@pytest.mark.usefixtures("drawn_before")
def test_maps_are_timed_in_the_frame(monkeypatch: pytest.MonkeyPatch):
    strides: dict[Layout, set[tuple[int, ...]]] = {"channels_last": set(), "contiguous": set()}
    original = choice.convolve

    def note(maps: Tensor, weight: Tensor, geometry: Geometry, ways: Ways) -> Tensor:
        strides[ways.frame].add(maps.stride())
        return original(maps, weight, geometry, ways)

    monkeypatch.setattr(choice, "convolve", note)
    times(DENSE, on_cpu)
    for frame, found in strides.items():
        assert found == {laid(torch.empty(SHAPE), frame).stride()}
