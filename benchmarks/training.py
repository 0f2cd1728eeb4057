"""Training loops side by side: the field's, a careful one, ours alone and ours packed.

    python benchmarks/training.py                                    # a GPU: the paper's network
    python benchmarks/training.py --device cpu --channels 8 --cells 8 --images 800

All train the same network on the same seeded images of CIFAR-10's shape, each through its own input
path, in alternation within one run. Needs neither Ray nor torchvision.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Build, Loop, Setting, SideBySideLoop, builders
from benchmarks.measure import (
    LEARNING_RATE,
    Speed,
    argument_parser,
    describe_machine,
    measure_ceilings,
    publish,
    table,
    time_loops,
    with_memory,
)
from benchmarks.traffic import count_traffic
from results_schema.errors import NasSweepError
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe
from workers.training import device as devices

HEADER = (
    "loop", "images/s", "× reference", "range", "× ours alone", "of the floor",
    "of the fused floor", "memory",
)  # fmt: skip


@dataclass(frozen=True)
class LoopResult:
    """The measurements of a loop.

    Attributes:
        loop: Its name, or its key among the builders if it failed.
        alone: Its images a second over those of ours with one network in the same precision.
        floors: Images a second as a share of what the copy bandwidth allows, unfused and fused.
        memory: Bytes; see `measure.with_memory`.
    """

    loop: str
    speed: Speed | None = None
    alone: float | None = None
    floors: tuple[float, float] | None = None
    memory: int | None = None
    error: str = ""

    def row(self) -> list[str]:
        """Return the cells of its line in a table."""
        if self.speed is None:
            reason = f"failed, {self.error}" if self.error else "not timed, as the first failed"
            return [f"{self.loop}: {reason}", *["–"] * (len(HEADER) - 1)]
        ratios = self.speed.ratios
        return [
            self.loop,
            f"{self.speed.rate:,.0f}",
            f"{self.speed.ratio:.2f}",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            "–" if self.alone is None else f"{self.alone:.2f}",
            *([f"{share:.1%}" for share in self.floors or ()] or ["–", "–"]),
            "–" if self.memory is None else f"{self.memory / 2**20:,.0f} MiB",
        ]


def compare(
    setting: Setting,
    builds: Mapping[str, tuple[str, Build]],
    copy: float,
    rounds: int,
    until: float = math.inf,
    memory_of: Callable[[str], int] | None = None,
) -> list[LoopResult]:
    """Warm loops up, train the same job in alternation and time it; a loop that fails is skipped.

    The others are compared with the first. `copy` is the bytes a second that the device copies,
    read and written together; `memory_of` returns the bytes that a loop needs on a CPU, where this
    process cannot know.
    """
    results: dict[str, LoopResult] = {}
    loops: dict[str, Loop] = {}
    for key, (_, build) in builds.items():
        print(f"preparing {key}", file=sys.stderr, flush=True)
        try:
            loops[key], memory = warmed_up(build, setting)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            results[key] = LoopResult(key, error=reason)
            continue
        own: int | None = memory
        if isinstance(loops[key], SideBySideLoop):
            own = None  # its processes' memory is not this one's
        elif setting.device.type != "cuda":
            own = memory_of(key) if memory_of else None
        results[key] = LoopResult(key, memory=own)
    # Without the first, there is nothing to compare the others with.
    first = next(iter(builds)) in loops
    speeds = time_loops(loops, setting, rounds, until) if first else {}
    precisions = {builds[key][0] for key in speeds}
    traffic = {precision: count_traffic(setting, precision) for precision in precisions}
    for key, speed in speeds.items():
        precision, _ = builds[key]
        steps, floor = speed.rate / setting.recipe.batch_size, traffic[precision]
        alone = speeds.get(f"ours-{precision}")
        pairs = zip(speed.rates, alone.rates, strict=True) if alone else ()
        results[key] = replace(
            results[key],
            loop=loops[key].name,
            speed=speed,
            alone=statistics.median(a / b for a, b in pairs) if alone else None,
            floors=(steps * floor.unfused / copy, steps * floor.fused / copy),
        )
    return list(results.values())


def warmed_up(build: Build, setting: Setting) -> tuple[Loop, int]:
    """Return a loop that has trained an epoch, and the memory that this took."""

    def run() -> Loop:
        loop = build(setting)
        loop.epoch(1, LEARNING_RATE)
        return loop

    return with_memory(run, setting.device)


def describe(setting: Setting, results: Sequence[LoopResult]) -> str:
    """Return what was trained, and a row for each loop, in Markdown."""
    rounds = max((len(one.speed.rates) for one in results if one.speed), default=0)
    return (
        f"{setting.genotype}, {setting.size.cells} cells, C = {setting.size.channels}, batches of "
        f"{setting.recipe.batch_size}, {len(setting.data().train):,} images an epoch, medians of "
        f"{rounds} round(s):\n\n{table(HEADER, [one.row() for one in results])}"
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, and return 0, 1 if a loop failed, 2 or 3 where it can't begin."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    try:
        return _run(options, arguments)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    device = devices.choose(options.device)
    on_gpu = device.type == "cuda"
    images = options.images or (50_000 if on_gpu else 800)
    setting = Setting(
        device,
        dataset=f"synthetic_{images}x3x{options.size}_10",
        size=NetworkSpec(
            options.cells or (20 if on_gpu else 8), options.channels or (36 if on_gpu else 8)
        ),
        recipe=Recipe(batch_size=options.batch),
    )
    builds = builders(
        options.precision or (["bf16"] if on_gpu else ["fp32"]),
        options.packs if options.packs is not None else ([2, 4] if on_gpu else []),
        options.processes,
    )
    if options.memory_of:
        print(warmed_up(builds[options.memory_of][1], setting)[1])
        return 0
    copy = measure_ceilings(device, tiny=options.dry).copy
    memory_of = None if options.dry else partial(_memory_elsewhere, arguments)
    results = compare(setting, builds, copy, options.rounds, memory_of=memory_of)
    text = (
        f"{describe(setting, results)}\n\nThe device copies {copy / 1e9:,.1f} GB/s. "
        f"{describe_machine(device)}"
    )
    code = publish(options.write, f"training {device.type}", text)
    return code or int(any(one.error for one in results))


def _memory_elsewhere(arguments: Sequence[str], key: str) -> int:
    """Return a loop's memory, measured by a process that has run nothing else."""
    command = [sys.executable, __file__, *arguments, "--memory-of", key]
    return int(subprocess.check_output(command, text=True))


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    add("--images", type=int, help="images an epoch (default: 50,000 on a GPU, 800 on a CPU)")
    add("--size", type=int, default=32, help="height and width of an image (default: 32)")
    add("--cells", type=int, help="cells of the network (default: 20 on a GPU, 8 on a CPU)")
    add("--channels", type=int, help="C (default: 36 on a GPU, 8 on a CPU)")
    add("--batch", type=int, default=80, help="images a step (default: 80)")
    add("--precision", nargs="+", choices=PRECISIONS,
        help="of the fair loop and of ours (default: bf16 on a GPU, fp32 on a CPU)")  # fmt: skip
    add("--packs", nargs="*", type=int, metavar="K",
        help="networks in one process (default: 2 4 on a GPU, none on a CPU)")  # fmt: skip
    add("--processes", nargs="*", type=int, default=[], metavar="K",
        help="networks in processes of their own, side by side")  # fmt: skip
    add("--rounds", type=int, default=5, help="default: 5")
    add("--dry", action="store_true", help="show only that it runs: no ceilings, no memory")
    add("--memory-of", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
