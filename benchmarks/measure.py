"""What the benchmarks share: arguments, tables in documents, the machine, timing and ceilings."""

from __future__ import annotations

import argparse
import math
import os
import platform
import re
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import TypeVar

import torch
from torch.backends import cuda

from benchmarks.loops import Loop, Setting
from results_schema.errors import ConfigError, NasSweepError
from results_schema.trial import PRECISIONS
from workers.training import device as devices

LEARNING_RATE = 0.025
"""Of every timed epoch (Section A.3)."""

T = TypeVar("T")


def argument_parser(description: str | None, *, write: bool = True) -> argparse.ArgumentParser:
    """Return a parser that shows a script's docstring, by default with the option `--write`."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if write:
        parser.add_argument(
            "--write", type=Path, help="document to put the tables into, between its comments"
        )
    return parser


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table, the first column aligned left and the others right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def publish(path: Path | None, name: str, text: str) -> int:
    """Print a text and `write` it into a document if one is named; return the exit code."""
    print(text)
    try:
        if path:
            write(path, name, text)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write(path: Path, name: str, text: str) -> None:
    """Replace the text between the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.

    Raises:
        ConfigError: The document does not exist, or does not have these lines exactly once.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    try:
        document = path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(error.strerror or str(error), where=str(path)) from error
    between = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    if len(between.findall(document)) != 1:
        raise ConfigError(
            f"has no one place for {name!r}",
            where=str(path),
            fix=f"add the lines {begin} and {end}",
        )
    # A function, because a replacement string would have its backslashes read as groups.
    written = between.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", document)
    path.write_text(written, "utf-8")


def describe_machine(device: torch.device) -> str:
    """Return device, load, versions, date and this command in a line for the text below a table."""
    versions = {"Python": platform.python_version(), "torch": torch.__version__}
    if device.type == "cuda":
        versions |= {"CUDA": torch.version.cuda, "cuDNN": torch.backends.cudnn.version()}
    affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affinity else os.cpu_count() or 1
    threads = f", {torch.get_num_threads()} thread(s) a network" if device.type == "cpu" else ""
    script = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).exists() else sys.argv[0]
    return (
        f"{devices.name(device)}, {cores} CPU cores under a load of {os.getloadavg()[0]:.1f}"
        f"{threads}; {', '.join(f'{name} {version}' for name, version in versions.items())}; "
        f"{datetime.now(UTC).date()}; `{shlex.join(['python', script, *sys.argv[1:]])}`"
    )


def processor_seconds(who: int = resource.RUSAGE_SELF) -> float:
    """Return the processor seconds of this process so far, or of those that it has waited for."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def peak_resident() -> int:
    """Return the most bytes that this process has had in main memory so far."""
    status = Path("/proc/self/status")
    if status.exists():
        [peak] = re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    # The system counts the process that started this one too.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes


def with_memory(run: Callable[[], T], device: torch.device) -> tuple[T, int]:
    """Call a function; return its result and the bytes that it added to the process's peak.

    The peak is what torch has reserved of the GPU, or what was resident in main memory. The latter
    never falls, so measure each function in a process of its own on a CPU.
    """
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_reserved(device) if on_gpu else peak_resident()
    result = run()
    devices.synchronize(device)
    after = torch.cuda.max_memory_reserved(device) if on_gpu else peak_resident()
    return result, after - before


def time_rounds(
    runs: Mapping[str, Callable[[], object]],
    device: torch.device,
    rounds: int,
    *,
    warmup: int = 1,
    processor: bool = False,
    until: float = math.inf,
) -> dict[str, list[float]]:
    """Return the seconds of each call in each round, after some rounds of warm-up.

    They are counted until the device has finished: elapsed ones, or those of the processor. The
    calls alternate, in reverse order in every other round, so that other work on the machine
    disturbs all of them alike. No round may end after `until`, a value of `time.perf_counter`,
    judged by the longest so far; but the first is always run.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    clock, longest = time.process_time if processor else time.perf_counter, 0.0
    for number in range(-warmup, rounds):
        start = time.perf_counter()
        if number > 0 and start + longest > until:
            break
        for name in reversed(times) if number % 2 else times:
            devices.synchronize(device)
            begun = clock()
            runs[name]()
            devices.synchronize(device)
            if number >= 0:
                times[name].append(clock() - begun)
        longest = max(longest, time.perf_counter() - start)
    return times


@dataclass(frozen=True)
class Speed:
    """A loop's speed in each round.

    Attributes:
        rates: Images a second, of all the loop's networks together.
        ratios: The rates divided by those of the first loop in the same round.
    """

    rates: list[float]
    ratios: list[float]

    @property
    def rate(self) -> float:
        """The median rate."""
        return statistics.median(self.rates)

    @property
    def ratio(self) -> float:
        """The median ratio."""
        return statistics.median(self.ratios)


def time_loops(
    loops: dict[str, Loop], setting: Setting, rounds: int, until: float
) -> dict[str, Speed]:
    """Time an epoch of each warmed-up loop in each round, see `time_rounds`.

    The first loop is what the others are compared with.
    """

    def train(loop: Loop, epochs: Iterator[int]) -> None:
        loop.epoch(next(epochs), LEARNING_RATE)

    runs = {name: partial(train, loop, count(2)) for name, loop in loops.items()}
    times = time_rounds(runs, setting.device, rounds, warmup=0, until=until)
    images = len(setting.data().train)
    rates = {
        name: [images * loops[name].networks / seconds for seconds in each]
        for name, each in times.items()
    }
    first = next(iter(rates.values()))
    return {
        name: Speed(own, [one / base for one, base in zip(own, first, strict=True)])
        for name, own in rates.items()
    }


@dataclass(frozen=True)
class Ceilings:
    """The most that a device reaches.

    Attributes:
        copy: Bytes a second that a large copy reads and writes together.
        matmul: Floating-point operations a second of a large matrix product, by precision.
    """

    copy: float
    matmul: dict[str, float]


def measure_ceilings(device: torch.device, *, tiny: bool = False) -> Ceilings:
    """Return the ceilings as medians of 20 calls; `tiny` only shows that it runs."""
    large = device.type == "cuda"
    size = 2**20 if tiny else 2**30 if large else 2**27  # beyond every cache
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / _median(partial(target.copy_, source), device)
    side = 64 if tiny else 8192 if large else 1024
    matmul = {}
    # A processor has no TF32.
    for precision in PRECISIONS if large else [p for p in PRECISIONS if p != "tf32"]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        allowed, cuda.matmul.allow_tf32 = cuda.matmul.allow_tf32, precision == "tf32"
        try:
            matmul[precision] = 2 * side**3 / _median(partial(torch.mm, left, right), device)
        finally:
            cuda.matmul.allow_tf32 = allowed
    return Ceilings(copy, matmul)


def _median(run: Callable[[], object], device: torch.device) -> float:
    return statistics.median(time_rounds({"run": run}, device, 20, warmup=3)["run"])


def shortened(setting: Setting, steps: int) -> Setting:
    """Return the job with synthetic images of the same shape, enough for so many steps."""
    about = setting.data(torch.device("cpu")).about
    images = steps * setting.recipe.batch_size
    shape = f"{about.channels}x{about.size}_{about.classes}"
    return replace(setting, dataset=f"synthetic_{images}x{shape}")
