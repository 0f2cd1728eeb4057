"""What the deterministic switch costs: seconds of a training epoch with it and without.

    python benchmarks/determinism.py [--device cuda] [--cells 20 --channels 36] [--rounds 5]

Rounds with and without alternate, so that a machine that is busy for a while slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace

import torch

from results_schema.trial import NetworkSpec, Recipe
from workers.cells.bases import named
from workers.data.batches import training_batches
from workers.data.images import Data, load
from workers.network.network import build_network
from workers.training import device as devices
from workers.training.engine import Engine


def main() -> None:
    """Measures and prints the ratio of the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda or cpu (default: a GPU if there is one)")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    size = NetworkSpec(options.cells, options.channels)
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(options.rounds):
        for deterministic, measured in times.items():
            measured.append(epoch(options.device, size, deterministic))
    without, under = (statistics.median(measured) for measured in times.values())
    device = devices.choose(options.device)
    print(f"{devices.name(device)}, {size.cells} cells, {size.channels} channels, digits:")
    print(f"{without:.3f} s an epoch without, {under:.3f} s with: ratio {under / without:.3f}")


def epoch(name: str | None, size: NetworkSpec, deterministic: bool) -> float:
    """Seconds of the second epoch of a fresh network; the first one warms up."""
    device, recipe = devices.choose(name, deterministic=deterministic), Recipe(epochs=2)
    data: Data = load("digits", device)
    network = build_network(named("DARTS"), size, in_channels=1, classes=10, seed=0)
    engine = Engine(network.to(device), replace(recipe, batch_size=80))
    for number in (1, 2):
        start = time.perf_counter()
        engine.train_epoch(training_batches(data, 80, 0, number), 0.025)
        if device.type == "cuda":
            torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
