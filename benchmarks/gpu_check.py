"""Checks a GPU and times training on it: `python benchmarks/gpu_check.py`, in under nine minutes.

Needs torch, numpy, pandas, pyarrow, safetensors and scikit-learn; no installation of this project,
and no ray. Parts run one after the other, and one that fails stops no other. Writes
`gpu_check.json` and `gpu_check.md`. With `--dry` every part runs at a tiny size on a CPU, to see
that it works.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

# A bare machine has nothing of this project installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.checks.parts import PARTS, Outcome, Scale
from benchmarks.measures.machine import Machine
from benchmarks.measures.tables import write
from results_schema.errors import NasSweepError
from workers.training import device as devices

SECONDS = 500.0
"""After which no further round of the training benchmark is begun."""


@dataclass(frozen=True)
class Result:
    """What came of a part.

    Attributes:
        part: Its name.
        passed: Whether all was as it should be.
        seconds: That it took.
        text: What it found, in Markdown.
        numbers: The same for a program, or the traceback of what stopped it.
    """

    part: str
    passed: bool
    seconds: float
    text: str
    numbers: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the parts that are asked for and writes what they found.

    Returns:
        The exit code: 0, 1 if a part failed, 2 for wrong usage, 3 for an unfit machine.
    """
    options = _parser().parse_args(arguments)
    try:
        device = devices.choose("cpu" if options.dry else options.device)
        machine = Machine.of(device)
        scale = Scale(device, options.dry, time.perf_counter() + options.seconds)
        results = [_run(name, PARTS[name], scale) for name in options.parts or PARTS]
        text = _text(machine, results)
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "gpu_check.md").write_text(text, "utf-8")
        found = {"machine": asdict(machine), "parts": [asdict(result) for result in results]}
        (options.out / "gpu_check.json").write_text(json.dumps(found, indent=1), "utf-8")
        if options.write:
            write(options.write, "gpu_check", text)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        return 3
    print(text)
    for result in results:
        print(f"{'passed' if result.passed else 'FAILED'}: {result.part}, {result.seconds:.0f} s")
    return int(not all(result.passed for result in results))


def _run(name: str, part: Callable[[Scale], Outcome], scale: Scale) -> Result:
    print(f"{name} …", file=sys.stderr, flush=True)
    # What nothing has seen before, and can be seen again.
    torch.manual_seed(0 if scale.dry else time.time_ns() % 2**32)
    seed, start = torch.initial_seed(), time.perf_counter()
    try:
        passed, text, numbers = part(scale)
    except Exception as error:
        passed, text = False, f"Stopped: {type(error).__name__}: {error}".partition("\n")[0]
        numbers = traceback.format_exc()
    if scale.device.type == "cuda":
        torch.cuda.empty_cache()
    seconds = time.perf_counter() - start
    return Result(name, passed, seconds, text, {"seed": seed, "found": numbers})


def _text(machine: Machine, results: Sequence[Result]) -> str:
    parts = [
        f"**{result.part}**: {'passed' if result.passed else 'FAILED'}, {result.seconds:.0f} s."
        f"\n\n{result.text}"
        for result in results
    ]
    return "\n\n".join([machine.sentence(), *parts]) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    add("--dry", action="store_true", help="every part at a tiny size on the CPU")
    add("--parts", nargs="+", choices=tuple(PARTS), help="only these")
    add("--out", type=Path, default=Path(), help="folder of the two files (default: this one)")
    add("--write", type=Path, help="document to put the text into, between its comments")
    add(
        "--seconds",
        type=float,
        default=SECONDS,
        help=f"begin no further round of training later (default: {SECONDS:g})",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
