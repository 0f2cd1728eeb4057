"""Measure how fast a GPU is: training and landscapes beside plain or published loops."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from typing import Any

import torch
from torch.nn import functional
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.gpu_check import Outcome, Scale
from benchmarks.landscape import Case, contour, pass_both_ways, variance
from benchmarks.loops import OwnLoop, builders, torch_defaults
from benchmarks.measure import LEARNING_RATE, measure_ceilings, table, time_rounds
from benchmarks.training import compare, describe
from workers.landscape.plane import Directions, draw_directions
from workers.network.network import Network
from workers.training import device as devices

STEPS = 75
"""Steps of 80 images of an epoch that is timed."""
ROUNDS, SECONDS = 3, 50.0
TOP = 14
"""Kinds of kernel in the table of kernels."""
POINTS = [(alpha, beta) for alpha, beta in product((-1.0, -0.5, 0.0, 0.5, 1.0), repeat=2)]
"""The 25 points of a contour that is timed."""


def ceilings(scale: Scale) -> Outcome:
    """Measure the most that the machine reaches."""
    found = measure_ceilings(devices.choose(scale.device), tiny=scale.dry)
    rows = [["copy, read and written", f"{found.copy / 1e9:,.1f} GB/s"]]
    rows += [
        [f"matrix product, {precision}", f"{rate / 1e12:,.2f} TFLOP/s"]
        for precision, rate in found.matmul.items()
    ]
    passed = min(found.copy, *found.matmul.values()) > 0
    return Outcome(passed, table(("ceiling", "measured"), rows), asdict(found))


def kernels(scale: Scale) -> Outcome:
    """Profile steps of one network in bf16 and list the kinds of kernel that take most time."""
    setting = scale.setting(4 if scale.dry else 20)
    device = setting.device
    loop = OwnLoop(setting, "bf16")
    loop.epoch(1, LEARNING_RATE)
    on_gpu = device.type == "cuda"
    activity = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU

    def profiled() -> profile:
        with profile(activities=[activity]) as profiler:
            loop.train(2, LEARNING_RATE)
            devices.synchronize(device)
        return profiler

    # In the loop's own thread, the only one that a CPU's profile sees.
    profiler = loop.run(profiled)
    loop.close()
    attribute = "self_device_time_total" if on_gpu else "self_cpu_time_total"
    times = {event: getattr(event, attribute) for event in profiler.key_averages()}
    total, count = sum(times.values()), sum(event.count for event in times)
    steps = len(setting.data().train) / setting.recipe.batch_size
    rows = [
        [
            f"`{event.key[:70]}`",
            f"{event.count / steps:.1f}",
            f"{times[event] / 1e3 / steps:.3f} ms",
            f"{times[event] / total:.1%}",
        ]
        for event in sorted(times, key=lambda event: -times[event])[:TOP]
    ]
    text = table(("kernel", "a step", "time a step", "share"), rows)
    text += f"\n\n{total / 1e3 / steps:.2f} ms a step in all, {count / steps:,.0f} kernels."
    return Outcome(total > 0, text, rows)


def bf16(scale: Scale) -> Outcome:
    """Time the published loop, a careful one, ours alone and ours packed."""
    return _training(scale, "bf16")


def fp32(scale: Scale) -> Outcome:
    """Time the same in fp32."""
    return _training(scale, "fp32")


def _training(scale: Scale, precision: str) -> Outcome:
    setting = scale.setting(4 if scale.dry else STEPS)
    device = setting.device
    copy = measure_ceilings(device, tiny=scale.dry).copy
    builds = builders([precision], (2,) if scale.dry else (2, 4, 8))
    rounds, until = 1 if scale.dry else ROUNDS, time.perf_counter() + SECONDS
    results = compare(setting, builds, copy, rounds, until)
    passed = all(one.speed for one in results)
    return Outcome(passed, describe(setting, results), [asdict(one) for one in results])


def landscape(scale: Scale) -> Outcome:
    """Time points of a contour and of a variance beside plain loops on the same network."""
    setting = scale.setting(1)
    device = setting.device
    images, batch = (8, 4) if scale.dry else (2_000, 500)
    points = POINTS[: 2 if scale.dry else None]
    case = Case.build(setting, images, batch)
    small = replace(case, batch=80)
    ours = contour(case)
    on_cpu = TensorDataset(case.images.cpu(), case.labels.cpu())
    loader = DataLoader(on_cpu, batch, pin_memory=device.type == "cuda")
    directions = draw_directions(case.network, seed=0)
    runs = {
        "published loop, a point of a contour": partial(
            _published_points, case.network, directions, loader, points, device
        ),
        "ours, a point of a contour": lambda: [ours.at(*point) for point in points],
        "one forward and backward pass, channels last": partial(
            pass_both_ways, small, torch.channels_last
        ),
        "ours, a point of a variance": variance(small),
    }
    times = time_rounds(runs, device, rounds=1 if scale.dry else 3)
    found = {name: statistics.median(seconds) for name, seconds in times.items()}
    published, own, passes, measured = found.values()
    seconds = [published / len(points), own / len(points), passes, measured]
    faster, slower = f"{published / own:.2f}× as fast", f"{measured / passes:.2f}× the time"
    compared = zip(found, seconds, ("1.00", faster, "1.00", slower), strict=True)
    rows = [[name, f"{each:.3f} s", ratio] for name, each, ratio in compared]
    side = case.images.shape[-1]
    head = (
        f"{images:,} images of {side}×{side}, {setting.size.cells} cells, "
        f"C = {setting.size.channels}"
    )
    return Outcome(True, f"{head}:\n\n" + table(("method", "time", "ratio"), rows), found)


def deterministic(scale: Scale) -> Outcome:
    """Time epochs of one network with deterministic kernels and without, in alternation."""
    setting = scale.setting(4 if scale.dry else 50)
    device = setting.device
    loops = {
        name: OwnLoop(setting, "bf16", deterministic=name == "deterministic")
        for name in ("free", "deterministic")
    }
    epochs = {name: partial(loop.epoch, 1, LEARNING_RATE) for name, loop in loops.items()}
    times = time_rounds(epochs, device, rounds=1 if scale.dry else 3)
    for loop in loops.values():
        loop.close()
    free, fixed = (statistics.median(times[name]) for name in loops)
    text = (
        f"An epoch of 50 steps in bf16: {free:.3f} s free, {fixed:.3f} s deterministic, "
        f"ratio {fixed / free:.2f}."
    )
    return Outcome(True, text, times)


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
    with torch_defaults(device), torch.no_grad():
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
