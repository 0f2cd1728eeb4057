"""What benchmarks share: tables, the machine, peak memory, rounds in turns, ceilings, launches."""

from __future__ import annotations

import os
import platform
import re
import resource
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import torch
from torch.backends import cuda
from torch.profiler import ProfilerActivity, profile

from benchmarks.loops import Loop, OwnLoop, PackedLoop, Setting, SideBySideLoop
from results_schema.errors import ConfigError, NasSweepError
from results_schema.trial import PRECISIONS
from workers.training import device as devices


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown, the first column to the left and the others to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def publish(path: Path | None, name: str, text: str) -> int:
    """Prints a text, and puts it into a document if one is named, as `write` does.

    Returns:
        The exit code: 0, or that of an error, which is told.
    """
    print(text)
    try:
        if path:
            write(path, name, text)
    except NasSweepError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def write(path: Path, name: str, text: str) -> None:
    """Puts a text between the two comments of that name in a document.

    Args:
        path: Of a document with the lines `<!-- begin NAME -->` and `<!-- end NAME -->`.
        name: Of the place.
        text: Replaces what stands there.

    Raises:
        ConfigError: There is no such document, or it has no such place.
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
    # A function, because a text may hold what a pattern's replacement would read as a group.
    written = between.sub(lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", document)
    path.write_text(written, "utf-8")


@dataclass(frozen=True)
class Machine:
    """Of one run of a benchmark.

    Attributes:
        device: Name of the GPU or the processor.
        kind: "cuda" or "cpu".
        threads: That torch computes with on the CPU.
        cores: That this process may use.
        load: Mean number of processes that wanted a core in the last minute, this one's among them.
        versions: Of Python, torch, CUDA and cuDNN.
        date: Day, in UTC.
        command: That was typed.
    """

    device: str
    kind: str
    threads: int
    cores: int
    load: float
    versions: dict[str, str]
    date: str
    command: str

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """This machine, now."""
        versions = {"Python": platform.python_version(), "torch": torch.__version__}
        if device.type == "cuda":
            versions |= {"CUDA": str(torch.version.cuda)}
            versions |= {"cuDNN": str(torch.backends.cudnn.version())}
        script = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).exists() else sys.argv[0]
        return cls(
            devices.name(device),
            device.type,
            torch.get_num_threads(),
            # A bare machine has no part of the orchestrator, and macOS no affinity.
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
            os.getloadavg()[0],
            versions,
            datetime.now(UTC).date().isoformat(),
            shlex.join(["python", script, *sys.argv[1:]]),
        )

    def sentence(self) -> str:
        """All of it, for the reader of a table."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = "" if self.kind == "cuda" else f", {self.threads} thread(s) a network"
        cores = f"{self.cores} CPU cores under a load of {self.load:.1f}"
        return f"{self.device}, {cores}{threads}; {versions}; {self.date}; `{self.command}`"


def peak_resident() -> int:
    """The most bytes that this process has had in main memory so far."""
    status = Path("/proc/self/status")
    if status.exists():
        [peak] = re.findall(r"^VmHWM:\s*(\d+) kB$", status.read_text(), re.MULTILINE)
        return int(peak) * 1024
    # Elsewhere: of this process or of the one that started it, whichever is more.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes


def warmed_up(build: Callable[[Setting], Loop], setting: Setting) -> tuple[Loop, int]:
    """Builds a loop and lets it train an epoch.

    Returns:
        The loop, and the bytes that it added to what the process had reserved of the GPU, or to
        the most that was resident in main memory. The latter counts only what no loop before has
        taken, so let a process of its own tell it.
    """
    cuda = setting.device.type == "cuda"
    if cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(setting.device)
        before = torch.cuda.memory_reserved(setting.device)
    else:
        before = peak_resident()
    loop = build(setting)
    loop.epoch(1, RATE)
    setting.wait()
    after = torch.cuda.max_memory_reserved(setting.device) if cuda else peak_resident()
    return loop, after - before


@dataclass(frozen=True)
class Speed:
    """Of a loop, in every round.

    Attributes:
        rates: Images a second, of all the loop's networks together.
        ratios: Times those of the first loop in the same round.
    """

    rates: list[float]
    ratios: list[float]

    @property
    def rate(self) -> float:
        """The median."""
        return statistics.median(self.rates)

    @property
    def ratio(self) -> float:
        """The median."""
        return statistics.median(self.ratios)


def in_turns(
    loops: dict[str, Loop], setting: Setting, rounds: int, until: float
) -> dict[str, Speed]:
    """Times an epoch of each loop in each round, every other round backwards.

    Args:
        loops: By name, warmed up; the first is what the others are measured against.
        setting: Theirs.
        rounds: How many, at most.
        until: Of `time.perf_counter`. No second round is begun that would end later, as far as the
            longest so far can tell.
    """
    images = len(setting.data().train)
    rates: dict[str, list[float]] = {name: [] for name in loops}
    longest = 0.0
    for number in range(rounds):
        start = time.perf_counter()
        if number and start + longest > until:
            break
        for name in reversed(loops) if number % 2 else loops:
            taken = seconds_of(loops[name], setting, number + 2)
            rates[name].append(images * loops[name].networks / taken)
        longest = max(longest, time.perf_counter() - start)
    first = next(iter(rates.values()))
    return {
        name: Speed(own, [one / base for one, base in zip(own, first, strict=True)])
        for name, own in rates.items()
    }


def seconds_of(loop: Loop, setting: Setting, number: int) -> float:
    """Of one epoch, from the first image to the last kernel."""
    setting.wait()
    start = time.perf_counter()
    loop.epoch(number, RATE)
    setting.wait()
    return time.perf_counter() - start


RATE = 0.025
"""The learning rate that is trained at (Section A.3)."""


_TURNS = 20


@dataclass(frozen=True)
class Ceilings:
    """Of one device.

    Attributes:
        copy: Bytes a second that a large copy reads and writes together.
        matmul: Floating-point operations a second of a large matrix product, by precision.
    """

    copy: float
    matmul: dict[str, float]


def measure_ceilings(device: torch.device, *, tiny: bool = False) -> Ceilings:
    """Medians over twenty turns, after three unmeasured.

    Args:
        device: As many threads as torch has been given, on a CPU.
        tiny: Whether to see only that it runs.
    """
    large = device.type == "cuda"
    size = 2**20 if tiny else 2**30 if large else 2**27  # beyond every cache
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    copy = 2 * size / _median(partial(target.copy_, source), device)
    side = 64 if tiny else 8192 if large else 1024
    found = {}
    # A processor has no TF32.
    for precision in PRECISIONS if large else [p for p in PRECISIONS if p != "tf32"]:
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        left, right = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))
        with _tf32(precision == "tf32"):
            taken = _median(partial(torch.mm, left, right), device)
        found[precision] = 2 * side**3 / taken
    return Ceilings(copy, found)


@contextmanager
def _tf32(allowed: bool) -> Iterator[None]:
    before = cuda.matmul.allow_tf32
    cuda.matmul.allow_tf32 = allowed
    try:
        yield
    finally:
        cuda.matmul.allow_tf32 = before


def _median(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a run."""
    times = []
    for turn in range(_TURNS + 3):
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if turn >= 3:
            times.append(time.perf_counter() - start)
    return statistics.median(times)


_FEW, _MORE = 8, 24
"""Steps of two epochs whose difference is counted, so that what an epoch does once drops out."""

_ASKING = ("Launch", "MemcpyAsync", "MemsetAsync")
"""Parts of the names of calls that put work on a GPU."""


@dataclass(frozen=True)
class Launches:
    """Of one step.

    Attributes:
        calls: From the CPU: launches of kernels or graphs, copies, fills.
        kernels: On the GPU.
    """

    calls: float
    kernels: float


def count_launches(build: Callable[[Setting], Loop], setting: Setting) -> Launches | None:
    """Counts them with torch's profiler; None on a CPU, which launches nothing.

    Args:
        build: Makes the loop.
        setting: The job; it is done on a few synthetic images of the same shape.
    """
    if setting.device.type != "cuda":
        return None
    about = setting.data(torch.device("cpu")).about
    counted = []
    for steps in (_FEW, _MORE):
        images = steps * setting.recipe.batch_size
        shape = f"{about.channels}x{about.size}_{about.classes}"
        loop = build(replace(setting, dataset=f"synthetic_{images}x{shape}"))
        loop.epoch(1, RATE)
        setting.wait()
        with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as profiler:
            loop.epoch(2, RATE)
            setting.wait()
        counted.append(_count(profiler))
        if isinstance(loop, OwnLoop | PackedLoop | SideBySideLoop):
            loop.close()  # its graphs hold the GPU's memory
    (few_calls, few_kernels), (more_calls, more_kernels) = counted
    between = _MORE - _FEW
    return Launches((more_calls - few_calls) / between, (more_kernels - few_kernels) / between)


def _count(profiler: profile) -> tuple[int, int]:
    """Calls from the CPU, and kernels on the GPU."""
    calls = kernels = 0
    for event in profiler.events() or ():
        if event.device_type.name == "CUDA":
            kernels += 1
        elif event.name.startswith("cu") and any(part in event.name for part in _ASKING):
            calls += 1
    return calls, kernels
