"""The bytes that a training step moves at least: `uv run python benchmarks/traffic.py`.

Counted, not measured, so that they are the same on every machine; see `measures/traffic.py`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

# Where `benchmarks` lies.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops.setting import Setting
from benchmarks.measures.tables import table, write
from benchmarks.measures.traffic import count_traffic
from results_schema.trial import NetworkSpec, Recipe

PRECISIONS = ("fp32", "bf16")
"""TF32 moves what fp32 does."""


def main() -> None:
    """Prints the floors, and the kernels that move most."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--genotype", default="DARTS")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--channels", type=int, default=36)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--write", type=Path, help="document to put the table into")
    options = parser.parse_args()
    setting = Setting(
        torch.device("cpu"),
        dataset="synthetic_80x3x32_10",
        genotype=options.genotype,
        size=NetworkSpec(options.cells, options.channels),
        recipe=Recipe(batch_size=options.batch),
    )
    counts = {precision: count_traffic(setting, precision) for precision in PRECISIONS}
    rows = [
        [name, f"{one.unfused / 1e9:.1f} GB", f"{one.fused / 1e9:.1f} GB", f"{one.kernels:,}"]
        for name, one in counts.items()
    ]
    step = f"a step of {options.batch} images"
    text = table((step, "unfused", "fused", "kernels, forward and backward"), rows)
    print(text)
    largest = list(counts["fp32"].by_kernel.items())[:10]
    print("\n" + table(("fp32, unfused", "GB"), [[n, f"{b / 1e9:.2f}"] for n, b in largest]))
    if options.write:
        write(options.write, "traffic", text)


if __name__ == "__main__":
    main()
