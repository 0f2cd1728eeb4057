"""Training loops beside one another: the field's, a careful one, ours alone and ours packed.

    python benchmarks/training.py                                    # a GPU: the paper's network
    python benchmarks/training.py --device cpu --channels 8 --cells 8 --images 800

All train the same network on the same seeded images of CIFAR-10's shape, each through its own input
path, in turns within one run. Without ray, and without torchvision too.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import torch

# A bare machine has nothing of this project installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops.kinds import builders
from benchmarks.loops.setting import Setting
from benchmarks.measures.ceilings import measure_ceilings
from benchmarks.measures.contest import Contest, described
from benchmarks.measures.machine import Machine
from benchmarks.measures.memory import warmed_up
from benchmarks.measures.tables import write
from results_schema.errors import NasSweepError
from results_schema.trial import PRECISIONS, NetworkSpec, Recipe
from workers.cells.bases import official_name
from workers.training import device as devices

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
