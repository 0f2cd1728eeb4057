"""What a launch shows of itself: bars on a terminal, a line per ending elsewhere, and metrics.

The driver alone reports metrics, to Ray, whose nodes Prometheus scrapes. So every event counts
once, under few labels, and none is lost with its worker: workers come and go by the thousand.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.table import Column
from rich.text import Text

from orchestrator.execution.queue import Queue
from orchestrator.output.text import duration
from orchestrator.planning.plan import Work
from results_schema import layout
from results_schema.surface import SurfaceSpec

UNFINISHED = ("failed", "cancelled", "untrained")
"""Endings after which a trial or surface remains to be run."""
STATES = ("waiting", "running", "done", "diverged", "pruned", "failed", "cancelled")
NAMED = 3
"""Experiments of a launch that the label of its metrics names; the others are counted."""
EXPORT_INTERVAL = 2.0
"""Seconds between two exports of gauges: Ray drops what isn't set again within the interval at
which it gathers, 10 seconds by default, so that no metric outlives its launch."""


@dataclass(frozen=True)
class Metric:
    """A metric: a counter if its name ends in `_total`, else a gauge, whose last value holds."""

    name: str  # to which Ray adds `ray_` in front
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()  # besides those of the launch (`launch_labels`)

    @property
    def is_counter(self) -> bool:
        """Whether its samples add up."""
        return self.name.endswith("_total")


_ITEM = ("host", "process", "kind", "item")
METRICS = (
    Metric(
        "nas_sweep_trials", "trials", f"of the launch, by state: {', '.join(STATES)}", ("state",)
    ),
    Metric(
        "nas_sweep_surfaces",
        "surfaces",
        "of the launch, by the same states, and untrained: their trials failed",
        ("state",),
    ),
    Metric("nas_sweep_epochs_left", "epochs", "that the launch has yet to train"),
    Metric("nas_sweep_points_left", "points", "that the launch has yet to measure"),
    Metric(
        "nas_sweep_item_progress",
        "1",
        "share done of a trial or surface, from its first epoch or point on and while it runs",
        _ITEM,
    ),
    Metric(
        "nas_sweep_images_per_second",
        "images/s",
        "trained by a running trial in its last epoch, evaluation left out",
        _ITEM,
    ),
    Metric(
        "nas_sweep_peak_memory_bytes",
        "bytes",
        "most memory so far of a running trial's GPU as torch allocates it, or of its process on a "
        "CPU",
        _ITEM,
    ),
    Metric("nas_sweep_epochs_total", "epochs", "trained, again after a failure too", ("host",)),
    Metric("nas_sweep_points_total", "points", "of landscapes measured, by kind", ("host", "kind")),
    Metric(
        "nas_sweep_retries_total",
        "attempts",
        "that failed and were made again, by reason: killed, evicted, node, cuda or graph",
        ("reason",),
    ),
)


class Sample(NamedTuple):
    """A gauge's value, or by how much a counter grew, by the metric's name."""

    metric: str
    labels: dict[str, str]
    value: float


@dataclass
class Part:
    """Progress of the launch's trials, which consist of epochs, or of its surfaces, of points."""

    noun: str
    unit: str
    sizes: dict[str, int]  # number of steps of each, by id
    seconds: Mapping[str, float]  # estimated for each
    before: int  # number of those that had ended before this launch
    steps: dict[str, int] = field(default_factory=dict)  # done of each so far
    taken: int = 0  # number of steps done since the launch began
    ended: set[str] = field(default_factory=set)  # those that have left the queue
    failed: int = 0  # number of those that failed

    def __post_init__(self) -> None:
        self.left = sum(self.sizes.values())  # number of steps still to do
        # Estimated seconds of the steps that were done here, and of those still to do.
        self.seconds_taken, self.seconds_left = 0.0, sum(self.seconds[name] for name in self.sizes)
        self.done = self.before  # number of those that have ended, here or before

    @property
    def total(self) -> int:
        """Number of trials or surfaces, ended or not."""
        return len(self.sizes) + self.before

    # Both methods count as reports come, so that one costs the same among ten thousand trials.

    def step(self, name: str, number: int) -> None:
        """Note that one of them has reached this step."""
        # The first report of a resumed trial covers epochs of earlier launches: `taken`, which
        # gives the speed, counts one step of them.
        taken = max(0, number - self.steps.get(name, number - 1))
        self.taken += taken
        if not self.sizes[name]:  # a program does not tell
            return
        step = self.seconds[name] / self.sizes[name]
        self.seconds_taken += taken * step
        if name not in self.ended:
            more = number - self.steps.get(name, 0)
            self.left -= more
            self.seconds_left -= more * step
        self.steps[name] = number

    def end(self, name: str, status: str) -> None:
        """Note that one of them has left the queue, for the first time."""
        self.ended.add(name)
        # A trial that diverged or failed takes its untrained epochs along.
        self.left -= self.sizes[name] - self.steps.get(name, 0)
        self.seconds_left -= self.seconds[name] * (1 - self.share(name))
        if not self.sizes[name]:
            self.seconds_taken += self.seconds[name]
        self.done += status not in UNFINISHED
        self.failed += status == "failed"

    def share(self, name: str) -> float:
        """Return the share of one that is done, from 0 to 1."""
        return self.steps.get(name, 0) / max(1, self.sizes[name])


class Progress:
    """Progress of all that a queue holds. As a context it shows the bars.

    `samples` and `on_report`, which give the metrics, may be called by different threads.

    Args:
        queue: The queue whose endings are counted.
        work: All trials and surfaces of the launch by id.
        seconds: How long each is estimated to take, by id; only their ratios matter.
        ended: How many trials and how many surfaces had ended before.
        slots: Number of items that run side by side; what else was offered waits for a slot.
        console: Where to show the progress.

    Attributes:
        slots: The same, updated as nodes come and go.
        trials: Progress of the trials.
        surfaces: Progress of the surfaces.
        bar: What is drawn of both on a terminal.
    """

    def __init__(
        self,
        queue: Queue,
        work: Mapping[str, Work],
        seconds: Mapping[str, float],
        *,
        ended: tuple[int, int],
        slots: int,
        console: Console,
    ) -> None:
        self._queue, self._console, self.slots = queue, console, slots
        epochs = {n: w.epochs for n, w in work.items() if not isinstance(w, SurfaceSpec)}
        points = {n: w.points for n, w in work.items() if isinstance(w, SurfaceSpec)}
        self.trials = Part("trials", "epochs", epochs, seconds, ended[0])
        self.surfaces = Part("surfaces", "points", points, seconds, ended[1])
        self._kinds = {n: getattr(w, "kind", "trial") for n, w in work.items()}
        self._reports: dict[str, Mapping[str, Any]] = {}  # the last one of each running item
        self._retried: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._start = time.monotonic()
        self.bar = Bar(
            TextColumn("[bold]{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=None, table_column=Column(ratio=1)),
            TextColumn("{task.fields[part].done}/{task.fields[part].total}"),
            _StatusColumn(self, table_column=Column(no_wrap=True)),
            console=console,
            refresh_per_second=4,
            expand=True,
        )
        for part in (self.trials, self.surfaces):
            if part.sizes:
                self.bar.add_task(part.noun, total=part.left, part=part)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        if self._console.is_terminal:
            self.bar.stop()

    def step(self, name: str, number: int) -> None:
        """Note that a trial has come to this epoch, or a surface has so many points."""
        self._part(name).step(name, number)

    def refresh(self) -> None:
        """Show what has changed in the queue."""
        # New endings are the last ones of the dict: older ones need not be compared again.
        endings = self._queue.endings
        new = takewhile(lambda name: name not in self._part(name).ended, reversed(endings))
        for name in [*new][::-1]:
            part, status = self._part(name), endings[name]
            part.end(name, status)
            self._print_ending(name, status, part)
        for task in self.bar.tasks:
            self.bar.update(task.id, completed=(task.total or 0) - task.fields["part"].left)

    def _part(self, name: str) -> Part:
        return self.surfaces if layout.is_surface(name) else self.trials

    def _print_ending(self, name: str, status: str, part: Part) -> None:
        if status == "failed":
            line = f"failed {name}: {self._queue.reasons.get(name, '')}"
            self._console.print(line, style="red", markup=False, highlight=False)
        elif not self._console.is_terminal:
            line = f"{part.done}/{part.total} {name} {status}; {self.status(part)}"
            self._console.print(line, markup=False)

    def status(self, part: Part) -> str:
        """Return a status such as `2 running, 0 failed, 3.1 epochs/s, 4 min left`.

        Args:
            part: The trials or surfaces whose speed is shown. The remaining time is the launch's:
                trials and surfaces share its slots.
        """
        passed = max(time.monotonic() - self._start, 1e-9)
        running = sum(name in part.sizes for name in self._queue.working(self.slots))
        status = f"{running} running, {part.failed} failed"
        if not part.taken:
            return status
        parts = (self.trials, self.surfaces)
        pace = sum(one.seconds_taken for one in parts) / passed
        left = max(0.0, sum(one.seconds_left for one in parts))
        shown = f", {duration(left / pace)} left" if pace else ""
        return f"{status}, {part.taken / passed:.2g} {part.unit}/s{shown}"

    def on_report(self, result: Mapping[str, Any]) -> list[Sample]:
        """Return the samples of a worker's report of epochs, points or an outcome (`trainable`).

        Tune repeats the last report of an item when it ends: that one must not come here.
        """
        name, host = result.get("item", ""), result.get("hostname", "")
        with self._lock:
            if "status" in result:
                self._reports.pop(name, None)
            else:
                self._reports[name] = result
        if "epoch" in result:
            return [Sample("nas_sweep_epochs_total", {"host": host}, result["trained"])]
        if "points" in result:
            labels = {"host": host, "kind": self._kinds[name]}
            return [Sample("nas_sweep_points_total", labels, result["measured"])]
        return []

    def samples(self) -> list[Sample]:
        """Return all gauges, and by how much retries have grown since the last call."""
        # The queue changes in another thread: an item that ends between these two lines would
        # count both as ended and as running.
        endings = dict(self._queue.endings)
        running = [n for n in self._queue.working(self.slots) if n not in endings]
        found: list[Sample] = []
        for part in (self.trials, self.surfaces):
            states = _count_states(part, endings, running)
            found += [Sample(f"nas_sweep_{part.noun}", {"state": s}, n) for s, n in states.items()]
            found.append(Sample(f"nas_sweep_{part.unit}_left", {}, part.left))
        return found + self._running_samples(running) + self._retry_samples()

    def _running_samples(self, running: list[str]) -> list[Sample]:
        with self._lock:
            # A worker that died reported no outcome: its last report must not stand for the next.
            self._reports = {n: self._reports[n] for n in running if n in self._reports}
            reports = dict(self._reports)
        found = []
        for name, last in reports.items():
            labels = {"host": last.get("hostname", ""), "process": str(last.get("pid", ""))}
            labels |= {"kind": self._kinds[name], "item": name}
            share = self._part(name).share(name)
            found.append(Sample("nas_sweep_item_progress", labels, share))
            # Reports of points have neither.
            if (speed := last.get("images_per_second")) is not None:
                found.append(Sample("nas_sweep_images_per_second", labels, speed))
            if (memory := last.get("peak_memory")) is not None:
                found.append(Sample("nas_sweep_peak_memory_bytes", labels, memory))
        return found

    def _retry_samples(self) -> list[Sample]:
        now = Counter[str](dict(self._queue.retries))
        grown, self._retried = now - self._retried, now
        return [Sample("nas_sweep_retries_total", {"reason": k}, n) for k, n in grown.items()]


class _StatusColumn(ProgressColumn):
    """The status, computed when it is drawn."""

    def __init__(self, progress: Progress, table_column: Column) -> None:
        super().__init__(table_column)
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.status(task.fields["part"]), style="dim")


def _count_states(part: Part, endings: Mapping[str, str], running: list[str]) -> dict[str, int]:
    """Return how many trials, or surfaces, are in each state; what ended before is done."""
    ended = Counter(endings[name] for name in part.sizes if name in endings)
    ended["done"] += part.before + ended.pop("ended by another launch", 0)
    count = sum(name in part.sizes for name in running)
    waiting = part.total - ended.total() - count
    return dict.fromkeys(STATES, 0) | ended | {"running": count, "waiting": waiting}


def launch_labels(launch: str, experiments: Iterable[str]) -> dict[str, str]:
    """Return the labels that distinguish a launch: its id, and the names of its experiments."""
    first, more = [*experiments][:NAMED], len([*experiments]) - NAMED
    named = ", ".join(first) + (f" and {more} more" if more > 0 else "")
    return {"launch": launch, "experiments": named}


@contextlib.contextmanager
def exported(
    progress: Progress, labels: dict[str, str]
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Export a launch's samples to Ray inside this context; yield an export of reports."""
    from ray.util import metrics

    export: dict[str, Callable[[float, dict[str, str]], None]] = {}
    for metric in METRICS:
        kind: Any = metrics.Counter if metric.is_counter else metrics.Gauge
        about = f"{metric.meaning} ({metric.unit})"
        made = kind(metric.name, about, (*labels, *metric.labels))
        made.set_default_tags(labels)
        export[metric.name] = made.inc if metric.is_counter else made.set

    def export_all(samples: Iterable[Sample]) -> None:
        for metric, own_labels, value in samples:
            # Ray refuses to add 0 to a counter.
            if value or not metric.endswith("_total"):
                export[metric](value, own_labels)

    def keep_exporting() -> None:
        while not over.wait(EXPORT_INTERVAL):
            export_all(progress.samples())

    over = threading.Event()
    thread = threading.Thread(target=keep_exporting, name="metrics", daemon=True)
    export_all(progress.samples())
    thread.start()
    try:
        yield lambda result: export_all(progress.on_report(result))
    finally:
        over.set()
        thread.join()
        # Once more: the last endings came since the thread's last export.
        export_all(progress.samples())
