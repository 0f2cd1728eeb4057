"""How fast is the GPU: training and landscapes beside plain or published loops of the same run."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.gpu_check import Outcome, Scale
from benchmarks.loops import OwnLoop, Setting, as_torch_ships, builders
from benchmarks.measure import RATE, measure_ceilings, table
from benchmarks.training import Contest, described
from results_schema.trial import NetworkSpec, Recipe
from workers.landscape.contour import Contour
from workers.landscape.directions import Directions, draw_directions
from workers.landscape.gradient_variance import GradientVariance
from workers.network.network import Network
from workers.training import device as devices

IMAGES = 6_000
"""Of an epoch that is timed: 75 steps of 80 images."""
ROUNDS, SECONDS = 3, 50.0
TOP = 14
"""Kinds of kernel that the table of kernels names."""
POINTS = [(alpha, beta) for alpha, beta in product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2)]
"""The 25 points of a contour that is timed."""


def ceilings(scale: Scale) -> Outcome:
    """Measure what the machine can do at best."""
    found = measure_ceilings(devices.choose(scale.device), tiny=scale.dry)
    rows = [["copy, read and written", f"{found.copy / 1e9:,.1f} GB/s"]]
    rows += [
        [f"matrix product, {precision}", f"{rate / 1e12:,.2f} TFLOP/s"]
        for precision, rate in found.matmul.items()
    ]
    return Outcome(
        min(found.copy, *found.matmul.values()) > 0,
        table(("ceiling", "measured"), rows),
        asdict(found),
    )


def kernels(scale: Scale) -> Outcome:
    """Profile steps of one network in bf16 and list the kinds of kernel that take most time."""
    device = devices.choose(scale.device)
    setting = _setting(device, scale, steps=4 if scale.dry else 20)
    loop = OwnLoop(setting, "bf16")
    loop.epoch(1, RATE)
    cuda = device.type == "cuda"
    activity = ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU

    def profiled() -> profile:
        # A CPU's profile sees the thread that it was started in alone.
        with profile(activities=[activity]) as profiler:
            loop.train(2, RATE)
            setting.wait()
        return profiler

    profiler = loop.run(profiled)
    loop.close()
    kind = "self_device_time_total" if cuda else "self_cpu_time_total"
    events = sorted(profiler.key_averages(), key=lambda e: -getattr(e, kind))
    total = sum(getattr(event, kind) for event in events)
    steps = len(setting.data().train) / setting.recipe.batch_size
    rows = [
        [
            f"`{event.key[:70]}`",
            f"{event.count / steps:.1f}",
            f"{getattr(event, kind) / 1e3 / steps:.3f} ms",
            f"{getattr(event, kind) / total:.1%}",
        ]
        for event in events[:TOP]
    ]
    text = table(("kernel", "a step", "time a step", "share"), rows)
    count = sum(event.count for event in events)
    text += f"\n\n{total / 1e3 / steps:.2f} ms a step in all, {count / steps:,.0f} kernels."
    return Outcome(total > 0, text, rows)


def bf16(scale: Scale) -> Outcome:
    """Time the published loop, a careful one, ours alone and ours packed."""
    return _training(scale, "bf16", (2, 4, 8))


def fp32(scale: Scale) -> Outcome:
    """Time the same in fp32."""
    return _training(scale, "fp32", (2, 4, 8))


def _training(scale: Scale, precision: str, packs: Sequence[int]) -> Outcome:
    device = devices.choose(scale.device)
    setting = _setting(device, scale, steps=4 if scale.dry else IMAGES // 80)
    copy = measure_ceilings(device, tiny=scale.dry).copy
    contest = Contest(
        setting, builders([precision], packs[: 1 if scale.dry else None]), copy, launches=False
    )
    until = time.perf_counter() + SECONDS
    standings = contest.run(1 if scale.dry else ROUNDS, until)
    passed = all(one.speed for one in standings)
    return Outcome(passed, described(setting, standings), [asdict(one) for one in standings])


def landscape(scale: Scale) -> Outcome:
    """Time points of a contour and of a variance beside plain loops on the same network."""
    device = devices.choose(scale.device)
    setting = _setting(device, scale, steps=1)
    count = 8 if scale.dry else 2_000
    draws = torch.Generator().manual_seed(0)
    size = setting.data(torch.device("cpu")).about.size
    images = torch.randn(count, 3, size, size, generator=draws)
    labels = torch.randint(10, (count,), generator=draws)
    network = setting.network().eval()
    directions = draw_directions(network, seed=0)
    batch = 4 if scale.dry else 500
    points = POINTS[: 2 if scale.dry else None]
    on_device = images.to(device), labels.to(device)
    contour = Contour(network, directions, *on_device, batch=batch)
    variance = GradientVariance(network, directions, *on_device, batch=80)
    loader = DataLoader(TensorDataset(images, labels), batch, pin_memory=device.type == "cuda")
    plain = partial(_forward_backward, network.to(memory_format=torch.channels_last), on_device)
    times = {
        "published loop, a point of a contour": partial(
            _published_points, network, directions, loader, points, device
        ),
        "ours, a point of a contour": lambda: [contour.at(*point) for point in points],
        "one forward and backward pass, channels last": plain,
        "ours, a point of a variance": lambda: variance.at(0.1, 0.1),
    }
    found = {
        name: _median(run, setting, turns=1 if scale.dry else 3) for name, run in times.items()
    }
    published, ours, passes, measured = found.values()
    per_point = [published / len(points), ours / len(points), passes, measured]
    ratios = [
        "1.00",
        f"{published / ours:.2f}× as fast",
        "1.00",
        f"{measured / passes:.2f}× the time",
    ]
    rows = [
        [name, f"{seconds:.3f} s", ratio]
        for name, seconds, ratio in zip(found, per_point, ratios, strict=True)
    ]
    network_size = f"{setting.size.cells} cells, C = {setting.size.channels}"
    head = f"{count:,} images of {size}×{size}, {network_size}"
    return Outcome(True, f"{head}:\n\n" + table(("method", "time", "ratio"), rows), found)


def deterministic(scale: Scale) -> Outcome:
    """Time epochs of one network with deterministic kernels and without, in turns."""
    device = devices.choose(scale.device)
    setting = _setting(device, scale, steps=4 if scale.dry else 50)
    loops = {kind: OwnLoop(setting, "bf16", deterministic=kind) for kind in (False, True)}
    times: dict[bool, list[float]] = {kind: [] for kind in loops}
    for number in range(1 + (1 if scale.dry else 3)):
        for kind, loop in loops.items():
            start = time.perf_counter()
            loop.epoch(number + 1, RATE)
            setting.wait()
            if number:
                times[kind].append(time.perf_counter() - start)
    for loop in loops.values():
        loop.close()
    free, fixed = (statistics.median(taken) for taken in times.values())
    text = (
        f"An epoch of 50 steps in bf16: {free:.3f} s free, {fixed:.3f} s deterministic, "
        f"ratio {fixed / free:.2f}."
    )
    return Outcome(True, text, {"free": times[False], "deterministic": times[True]})


def _published_points(
    network: Network,
    directions: Directions,
    loader: DataLoader[Any],
    points: Sequence[tuple[float, float]],
    device: torch.device,
) -> None:
    """Evaluate points as published loops do: weights set one by one, each batch's loss read."""
    names = dict(network.named_parameters())
    centre = {name: weight.detach().clone() for name, weight in names.items()}
    with as_torch_ships(device), torch.no_grad():
        for alpha, beta in points:
            for name, weight in names.items():
                first, second = directions.first.get(name), directions.second.get(name)
                if first is not None and second is not None:
                    weight.copy_(centre[name] + alpha * first + beta * second)
            for images, labels in loader:
                images, labels = images.to(device), labels.to(device)
                logits = network(images)
                functional.cross_entropy(logits, labels).item()
                (logits.argmax(1) == labels).sum().item()
        for name, weight in names.items():
            weight.copy_(centre[name])


def _forward_backward(network: Network, data: tuple[Tensor, Tensor]) -> None:
    images, labels = data
    for pixels, target in zip(images.split(80), labels.split(80), strict=True):
        network.zero_grad()
        logits = network(pixels.contiguous(memory_format=torch.channels_last))
        functional.cross_entropy(logits, target).backward()


def _median(run: Callable[[], object], setting: Setting, turns: int) -> float:
    """Return the median seconds of a run after one unmeasured."""
    taken = []
    for turn in range(turns + 1):
        setting.wait()
        start = time.perf_counter()
        run()
        setting.wait()
        if turn:
            taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def _setting(device: torch.device, scale: Scale, steps: int) -> Setting:
    """The paper's network, or the smallest, and images for so many steps an epoch."""
    if scale.dry:
        recipe, size = Recipe(batch_size=4), NetworkSpec(cells=3, channels=2)
        return Setting(device, f"synthetic_{4 * steps}x3x8_10", size=size, recipe=recipe)
    return Setting(device, f"synthetic_{80 * steps}x3x32_10")
