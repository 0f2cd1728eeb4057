"""Check and measure a GPU: `python benchmarks/gpu_check.py works|speed|sweep`.

`works` compares what the GPU computes with eager steps, with itself and with float64; `speed` times
training and landscapes beside published loops; `sweep` runs small launches through Ray. Run them in
this order: a number of `speed` means little before `works` has passed.

Each part runs in a process of its own, which is killed when the part's limit is over, so that a
part that hangs or breaks the GPU's context costs no other part anything. OUT/gpu_check_COMMAND.json
and .md are rewritten after every part. Needs torch, numpy, pandas, pyarrow, safetensors and
scikit-learn, no installation of this project; `sweep` also needs what `benchmarks/wheels.py`
gathers. With `--dry` every part runs at a tiny size on a CPU, which shows that it runs, not that a
GPU is right or fast.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

# A bare machine has nothing of this project installed.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.loops import Setting
from benchmarks.measure import argument_parser, describe_machine, publish, table
from results_schema.trial import NetworkSpec, Recipe
from workers.training import device as devices

ROOT = Path(__file__).resolve().parents[1]


class Outcome(NamedTuple):
    """Whether a part passed, its findings in Markdown, and the same as numbers."""

    passed: bool
    text: str
    numbers: Any


@dataclass(frozen=True)
class Scale:
    """The device of a check, and whether the check only shows that it runs (`dry`)."""

    device: str | None
    dry: bool

    def setting(self, steps: int, cell: str = "DARTS", cells: int = 20) -> Setting:
        """Return the paper's network or the smallest, and images for so many steps an epoch."""
        device = devices.choose(self.device)
        if self.dry:
            size, recipe = NetworkSpec(cells=3, channels=2), Recipe(batch_size=4)
            return Setting(device, f"synthetic_{4 * steps}x3x8_10", cell, size, recipe)
        return Setting(device, f"synthetic_{80 * steps}x3x32_10", cell, NetworkSpec(cells=cells))


DRY_LIMIT = 600
"""Seconds of a part of a dry run, whose CPU may be slow or busy."""


class Part(NamedTuple):
    """A function of the command's module of `benchmarks.checks`, from a `Scale` to an `Outcome`.

    Its process is killed after `limit` seconds; `about` describes it in the table of budgets.
    """

    name: str
    limit: int
    about: str


COMMANDS: dict[str, tuple[Part, ...]] = {
    "works": (
        Part("alone", 110, "graphed against eager steps, 5 cells, 3 precisions"),
        Part("packs", 90, "four unlike cells, packed against alone"),
        Part("resume", 40, "stopped and resumed with the same bits"),
        Part("trial", 40, "`python -m workers.train`, stopped and resumed"),
        Part("landscape", 30, "against float64 on the CPU"),
    ),
    "speed": (
        Part("ceilings", 15, "copies and matrix products"),
        Part("kernels", 25, "where a bf16 step spends its time"),
        Part("bf16", 70, "published loop, ours alone, packs of 2, 4, 8"),
        Part("fp32", 70, "the same in fp32"),
        Part("landscape", 30, "contour and variance against plain loops"),
        Part("deterministic", 20, "cost of `--deterministic`"),
    ),
    "sweep": (
        Part("pack", 45, "`--pack 2`, with surfaces"),
        Part("halves", 45, "`--gpus-per-trial 0.5`, surfaces at half a GPU"),
        Part("auto", 90, "`--gpus-per-trial auto`"),
    ),
}


@dataclass(frozen=True)
class Result:
    """Result of a part; `found` holds its numbers, or the end of its output if it failed."""

    part: str
    passed: bool
    seconds: float
    text: str
    machine: str
    found: Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command's parts, write both files after each, return 0, or 1 if a part failed."""
    options = _parser().parse_args(arguments)
    if options.command == "budget":
        return publish(options.write, "gpu_check budget", budget())
    scale = Scale("cpu" if options.dry else options.device, options.dry)
    parts = {part.name: part for part in COMMANDS[options.command]}
    if unknown := sorted(set(options.parts) - parts.keys()):
        reason = f"{options.command} has no part {unknown[0]!r}; use {', '.join(parts)}"
        print(f"error: {reason}", file=sys.stderr)
        return 2
    if options.result:
        return _child(options.command, options.parts[0], scale, options.result)
    results: list[Result] = []
    text = ""
    for name in options.parts or parts:
        print(f"{name} …", file=sys.stderr, flush=True)
        results.append(_run(options.command, parts[name], scale))
        try:
            text = _written(options.out, options.command, results)
        except OSError as error:
            print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
            return 3
        last = results[-1]
        print(f"{'passed' if last.passed else 'FAILED'}: {name}, {last.seconds:.0f} s", flush=True)
    code = publish(options.write, f"gpu_check {options.command}", text)
    return code or int(not all(result.passed for result in results))


def budget() -> str:
    """Return the table of every part's limit in Markdown."""
    rows, sums = [], []
    for command, parts in COMMANDS.items():
        rows += [[f"{command} {part.name}", part.about, f"{part.limit} s"] for part in parts]
        sums.append([f"**{command}**", "in all", f"**{sum(part.limit for part in parts)} s**"])
    return table(("part", "what it does", "limit"), [*rows, *sums])


def environment() -> dict[str, str]:
    """Return the environment of a command of this project, which need not be installed."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return os.environ | {"PYTHONPATH": path}


def _run(command: str, part: Part, scale: Scale) -> Result:
    """Run a part in a process and session of its own, killed as a whole at its limit."""
    start, limit = time.perf_counter(), DRY_LIMIT if scale.dry else part.limit
    with tempfile.TemporaryDirectory(prefix="gpu-check-") as folder:
        result = Path(folder) / "result.json"
        arguments = [sys.executable, __file__, command, "--parts", part.name]
        arguments += ["--result", str(result), *(["--dry"] if scale.dry else [])]
        arguments += ["--device", scale.device] if scale.device else []
        with (Path(folder) / "output").open("w+b") as output:
            child = subprocess.Popen(
                arguments, stdout=output, stderr=output, start_new_session=True
            )
            try:
                reason = f"ended with code {child.wait(limit)}"
            except subprocess.TimeoutExpired:
                reason = f"took longer than its limit of {limit} s"
            finally:
                # Workers of the part would keep the GPU's memory from the next one.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                child.wait()
            seconds = time.perf_counter() - start
            try:
                found = json.loads(result.read_text("utf-8"))
            except (OSError, ValueError):
                output.seek(0)
                end = output.read().decode("utf-8", "replace")[-4000:]
                return Result(part.name, False, seconds, f"Stopped: {reason}.", "", end)
    return Result(part.name, seconds=seconds, **found)


def _child(command: str, part: str, scale: Scale, result: Path) -> int:
    """Run a part in this process and write its result to a file, whole or not at all."""
    machine = ""
    # The user's command is recorded, not the one that starts this part.
    sys.argv = [__file__, command, *(["--dry"] if scale.dry else [])]
    try:
        machine = describe_machine(devices.choose(scale.device))
        function = getattr(importlib.import_module(f"benchmarks.checks.{command}"), part)
        passed, text, numbers = function(scale)
    except Exception as error:
        passed, text = False, f"Stopped: {type(error).__name__}: {error}".partition("\n")[0]
        numbers = traceback.format_exc()
    found = {"passed": passed, "text": text, "machine": machine, "found": numbers}
    partial = result.with_suffix(".partial")
    partial.write_text(json.dumps(found), "utf-8")
    partial.replace(result)
    return 0


def _written(folder: Path, command: str, results: Sequence[Result]) -> str:
    """Write both files of a command and return the Markdown."""
    machine = next((result.machine for result in results if result.machine), "")
    sections = [
        f"**{result.part}**: {'passed' if result.passed else 'FAILED'}, {result.seconds:.0f} s."
        f"\n\n{result.text}"
        for result in results
    ]
    text = "\n\n".join([machine, *sections]).strip() + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"gpu_check_{command}.md").write_text(text, "utf-8")
    found = {"machine": machine, "parts": [asdict(result) for result in results]}
    (folder / f"gpu_check_{command}.json").write_text(json.dumps(found, indent=1), "utf-8")
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("command", choices=(*COMMANDS, "budget"), help="budget: print the limit of every part")
    add("--device", help="cuda, cuda:N or cpu (default: a GPU if there is one)")
    add("--dry", action="store_true", help="run every part at a tiny size on the CPU")
    add("--parts", nargs="+", default=[], metavar="PART", help="run only these")
    add("--out", type=Path, default=Path(), help="folder of both files (default: this one)")
    add("--result", type=Path, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
