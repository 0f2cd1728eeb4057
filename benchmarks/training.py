"""Training loops beside one another: the field's, a careful one, ours alone and ours packed.

    python benchmarks/training.py                                    # a GPU: the paper's network
    python benchmarks/training.py --device cpu --channels 8 --cells 8 --images 800

All train the same network on the same seeded images of CIFAR-10's shape, each through its own input
path, in turns within one run. Needs neither Ray nor torchvision.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch

# A bare machine has nothing of this project installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Build, Loop, Setting, SideBySideLoop, builders
from benchmarks.measure import (
    Launches,
    Machine,
    Speed,
    count_launches,
    in_turns,
    measure_ceilings,
    table,
    warmed_up,
    write,
)
from benchmarks.traffic import Traffic, count_traffic
from results_schema.errors import NasSweepError
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe
from workers.cells.bases import official_name
from workers.training import device as devices


@dataclass(frozen=True)
class Standing:
    """What came of a loop.

    Attributes:
        loop: Its name, or the one that it was asked for with if it failed.
        speed: None if it failed.
        alone: Times the images a second of ours with one network in the same precision, the median
            over rounds; None if that was not timed.
        floors: Measured images a second as a share of what the copy bandwidth allows, for the
            unfused and the fused floor of its precision.
        launches: None on a CPU.
        memory: Bytes, see `measure.warmed_up`; None if not measured.
        error: Why it failed, or empty.
    """

    loop: str
    speed: Speed | None = None
    alone: float | None = None
    floors: tuple[float, float] | None = None
    launches: Launches | None = None
    memory: int | None = None
    error: str = ""


@dataclass
class Contest:
    """Loops that train the same job in turns.

    Args:
        setting: The job.
        builds: Each loop's precision and what builds it, by the name that it is asked for with; the
            first is what the others are measured against.
        copy: Bytes a second that the device copies, read and written together.
        memory: Tells what a loop needs in bytes, where this process can't: on a CPU.
        say: Told what is being done.
        launches: Whether to count each loop's launches, which builds it twice more.
    """

    setting: Setting
    builds: Mapping[str, tuple[str, Build]]
    copy: float
    memory: Callable[[str], int] | None = None
    say: Callable[[str], None] = print
    launches: bool = True
    _standings: dict[str, Standing] = field(default_factory=dict)

    def run(self, rounds: int, until: float) -> list[Standing]:
        """Warms every loop up, then times them; see `rounds.in_turns`.

        A loop that fails before is left out and tells why; the others go on.
        """
        loops = {key: loop for key in self.builds if (loop := self._prepared(key))}
        self.say("timing in turns")
        # Without the first, nothing is left to be measured against.
        first = next(iter(self.builds)) in loops
        speeds = in_turns(loops, self.setting, rounds, until) if first else {}
        precisions = {self.builds[key][0] for key in speeds}
        traffic = {each: count_traffic(self.setting, each) for each in precisions}
        for key, speed in speeds.items():
            floor = traffic[self.builds[key][0]]
            self._standings[key] = replace(
                self._standings[key],
                loop=loops[key].name,
                speed=speed,
                alone=_times(speed, speeds.get(f"ours-{self.builds[key][0]}")),
                floors=self._shares(speed, floor),
            )
        return list(self._standings.values())

    def _prepared(self, key: str) -> Loop | None:
        self.say(f"preparing {key}")
        _, build = self.builds[key]
        try:
            launches = count_launches(build, self.setting) if self.launches else None
            gc.collect()  # what was built to be counted gives its memory back
            loop, memory = warmed_up(build, self.setting)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            self._standings[key] = Standing(key, error=reason)
            self.say(f"{key} failed: {reason}")
            return None
        own: int | None = memory
        if isinstance(loop, SideBySideLoop):
            own = None  # its processes' memory is not this one's
        elif self.setting.device.type != "cuda":
            own = self.memory(key) if self.memory else None
        self._standings[key] = Standing(key, launches=launches, memory=own)
        return loop

    def _shares(self, speed: Speed, traffic: Traffic) -> tuple[float, float]:
        steps = speed.rate / self.setting.recipe.batch_size
        return steps * traffic.unfused / self.copy, steps * traffic.fused / self.copy


def _times(speed: Speed, other: Speed | None) -> float | None:
    if other is None:
        return None
    return statistics.median(a / b for a, b in zip(speed.rates, other.rates, strict=True))


def described(setting: Setting, standings: Sequence[Standing]) -> str:
    """What was trained, and a row for each loop, in Markdown."""
    rounds = max((len(one.speed.rates) for one in standings if one.speed), default=0)
    return (
        f"{setting.genotype}, {setting.size.cells} cells, C = {setting.size.channels}, batches of "
        f"{setting.recipe.batch_size}, {len(setting.data().train):,} images an epoch, medians of "
        f"{rounds} round(s):\n\n{table(HEADER, [_row(one) for one in standings])}"
    )


HEADER = (
    "loop", "images/s", "× reference", "range", "× ours alone", "of the floor",
    "of the fused floor", "calls a step", "kernels a step", "memory",
)  # fmt: skip


def _row(one: Standing) -> list[str]:
    if one.speed is None:
        reason = f"failed, {one.error}" if one.error else "not timed, for the first loop failed"
        return [f"{one.loop}: {reason}", *["–"] * (len(HEADER) - 1)]
    ratios = one.speed.ratios
    shares = [f"{share:.1%}" for share in one.floors or ()] or ["–", "–"]
    launches = one.launches
    counts = [f"{launches.calls:.0f}", f"{launches.kernels:.0f}"] if launches else ["–", "–"]
    return [
        one.loop,
        f"{one.speed.rate:,.0f}",
        f"{one.speed.ratio:.2f}",
        f"{min(ratios):.2f}–{max(ratios):.2f}",
        "–" if one.alone is None else f"{one.alone:.2f}",
        *shares,
        *counts,
        "–" if one.memory is None else f"{one.memory / 2**20:,.0f} MiB",
    ]


_PRECISION = "of the fair loop and of ours (default: bf16 on a GPU, fp32 on a CPU)"
_PACKS = "networks in one process (default: 2 4 on a GPU, none on a CPU)"
_PROCESSES = "networks in processes of their own, side by side"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints a table.

    Returns:
        The exit code: 0, 1 if a loop failed, 2 for wrong usage, 3 for an unfit machine.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    try:
        return _run(options, arguments)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    device = devices.choose(options.device)
    setting = _setting(options, device)
    cuda = device.type == "cuda"
    builds = builders(
        options.precision or (["bf16"] if cuda else ["fp32"]),
        options.packs if options.packs is not None else ([2, 4] if cuda else []),
        options.processes,
    )
    if options.memory_of:
        print(warmed_up(builds[options.memory_of][1], setting)[1])
        return 0
    ceilings = measure_ceilings(device, tiny=options.dry)
    ask = None if options.dry else partial(_memory_elsewhere, arguments)
    say = partial(print, file=sys.stderr, flush=True)
    contest = Contest(setting, builds, ceilings.copy, ask, say)
    standings = contest.run(options.rounds, time.perf_counter() + options.seconds)
    machine = Machine.of(device)
    text = (
        f"{described(setting, standings)}\n\nThe device copies {ceilings.copy / 1e9:,.1f} GB/s. "
        f"{machine.sentence()}"
    )
    print(text)
    if options.write:
        write(options.write, f"training {device.type}", text)
    if options.json:
        found = {"machine": asdict(machine), "ceilings": asdict(ceilings)}
        found |= {"loops": [asdict(one) for one in standings]}
        options.json.write_text(json.dumps(found, indent=1), "utf-8")
    return int(any(one.error for one in standings))


def _setting(options: argparse.Namespace, device: torch.device) -> Setting:
    cuda = device.type == "cuda"
    cells, channels = options.cells or (20 if cuda else 8), options.channels or (36 if cuda else 8)
    options.images = options.images or (50_000 if cuda else 800)
    return Setting(
        device,
        dataset=f"synthetic_{options.images}x3x{options.size}_10",
        genotype=official_name(options.genotype),
        size=NetworkSpec(cells, channels),
        recipe=Recipe(batch_size=options.batch),
    )


def _memory_elsewhere(arguments: Sequence[str], key: str) -> int:
    """A loop's memory, told by a process that has run nothing else."""
    command = [sys.executable, __file__, *arguments, "--memory-of", key]
    return int(subprocess.check_output(command, text=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    add("--images", type=int, help="an epoch (default: 50,000 on a GPU, 800 on a CPU)")
    add("--size", type=int, default=32, help="height and width of an image (default: 32)")
    add("--cells", type=int, help="of the network (default: 20 on a GPU, 8 on a CPU)")
    add("--channels", type=int, help="C (default: 36 on a GPU, 8 on a CPU)")
    add("--genotype", default="DARTS")
    add("--batch", type=int, default=80, help="images a step (default: 80)")
    add("--precision", nargs="+", choices=PRECISIONS, help=_PRECISION)
    add("--packs", nargs="*", type=int, metavar="K", help=_PACKS)
    add("--processes", nargs="*", type=int, default=[], metavar="K", help=_PROCESSES)
    add("--rounds", type=int, default=5, help="at most (default: 5)")
    add("--seconds", type=float, default=1800, help="begin no further round later (default: 1800)")
    add("--json", type=Path, help="file to put every number into")
    add("--write", type=Path, help="document to put the table into, between its comments")
    add("--dry", action="store_true", help="see only that it runs: no ceilings, no memory")
    add("--memory-of", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
