"""Which memory layout a network is quickest in, by kind of operation, and how its passes would run.

    python benchmarks/layout.py [--device cuda] [--genotype DARTS NASNet] [--cells 5 --channels 4]

This is what tuning does at the start of a trial on a GPU. On a CPU a trial is never tuned: there
the table shows why channels last is the fixed choice. Times are of the device alone, forward and
backward; a CPU has one thread.
"""

from __future__ import annotations

import argparse
from collections import defaultdict

import torch
from torch import nn

from results_schema.trial import NetworkSpec
from workers.cells.bases import named
from workers.network.convolution import Convolution
from workers.network.layout import LAYOUTS, Layout
from workers.network.network import build_network
from workers.network.timing import on_cpu, on_gpu
from workers.network.tuning import Measured, measure
from workers.training import device as devices


def main() -> None:
    """Measures each genotype and prints its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda or cpu (default: a GPU if there is one)")
    parser.add_argument("--genotype", nargs="+", default=["DARTS"])
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--size", type=int, default=16, help="of an image, in pixels")
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "tf32", "bf16"])
    options = parser.parse_args()
    device = devices.choose(options.device, precision=options.precision)
    print(f"{devices.name(device)}, torch {torch.__version__}, {options.precision}")
    for name in options.genotype:
        network = build_network(
            named(name),
            NetworkSpec(options.cells, options.channels),
            in_channels=3,
            classes=10,
            seed=0,
        )
        network = network.to(device).to(memory_format=torch.channels_last)
        shape = options.batch, 3, options.size, options.size
        images = torch.randn(shape, device=device).contiguous(memory_format=torch.channels_last)
        clock = on_gpu if device.type == "cuda" else on_cpu
        print(f"\n{name}, {options.cells} cells, {options.channels} channels, images {shape}:")
        show(measure(network, images, options.precision, clock))


def show(measured: Measured) -> None:
    """Prints milliseconds of a step by kind of operation and layout, and what was chosen."""
    sums: dict[str, dict[Layout, float]] = defaultdict(lambda: dict.fromkeys(LAYOUTS, 0.0))
    counts: dict[str, int] = defaultdict(int)
    for module, times in measured.times.items():
        counts[kind(module)] += 1
        for layout in LAYOUTS:
            sums[kind(module)][layout] += 1000 * times[layout].seconds
    print(f"{'':24}{'number':>8}" + "".join(f"{layout:>16}" for layout in LAYOUTS))
    for name, by_layout in sums.items():
        numbers = "".join(f"{by_layout[layout]:13.1f} ms" for layout in LAYOUTS)
        print(f"{name:24}{counts[name]:8}{numbers}")
    print(measured)


def kind(module: nn.Module) -> str:
    """What rows of the table gather."""
    if isinstance(module, Convolution):
        return "depthwise convolution" if module.groups > 1 else "dense convolution"
    return type(module).__name__


if __name__ == "__main__":
    main()
