"""Metrics of a launch: what each one means, how it is collected, and how Prometheus gets it.

The driver alone reports them, to Ray, whose nodes Prometheus scrapes. So every event counts once,
under few labels, and none is lost with its worker: workers come and go by the thousand.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ray.util import metrics as ray_metrics

from orchestrator.execution.progress import Part, Progress
from orchestrator.execution.queue import Queue
from orchestrator.planning.plan import Work
from results_schema.surface import SurfaceSpec

STATES = ("waiting", "running", "done", "diverged", "failed", "cancelled")
NAMED = 3
"""Experiments of a launch that its label names; the others are counted."""
EXPORT_INTERVAL = 2.0
"""Seconds between two exports of gauges: Ray drops what isn't set again within the interval at
which it gathers, 10 seconds by default, so that no metric outlives its launch."""


@dataclass(frozen=True)
class Metric:
    """One metric.

    Attributes:
        name: Its name, to which Ray adds `ray_` in front. A name in `_total` is a counter's.
        unit: Unit of its values.
        meaning: Its meaning in a few words.
        labels: Labels besides those of the launch (`launch_labels`).
    """

    name: str
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()

    @property
    def is_counter(self) -> bool:
        """Whether its samples add up; of a gauge the last one holds."""
        return self.name.endswith("_total")


class Sample(NamedTuple):
    """A gauge's value, or by how much a counter grew."""

    metric: Metric
    labels: dict[str, str]
    value: float


_ITEM = ("host", "process", "kind", "item")

TRIALS = Metric(
    "nas_sweep_trials", "trials", "of the launch, by state: " + ", ".join(STATES), ("state",)
)
SURFACES = Metric(
    "nas_sweep_surfaces",
    "surfaces",
    "of the launch, by the same states, and untrained: their trials failed",
    ("state",),
)
EPOCHS_LEFT = Metric("nas_sweep_epochs_left", "epochs", "that the launch has yet to train")
POINTS_LEFT = Metric("nas_sweep_points_left", "points", "that the launch has yet to measure")
PROGRESS = Metric(
    "nas_sweep_item_progress",
    "1",
    "share done of a trial or surface, from its first epoch or point on and while it runs",
    _ITEM,
)
SPEED = Metric(
    "nas_sweep_images_per_second",
    "images/s",
    "trained by a running trial in its last epoch, evaluation left out",
    _ITEM,
)
MEMORY = Metric(
    "nas_sweep_peak_memory_bytes",
    "bytes",
    "most memory so far of a running trial's GPU as torch allocates it, or of its process on a CPU",
    _ITEM,
)
EPOCHS = Metric("nas_sweep_epochs_total", "epochs", "trained, again after a failure too", ("host",))
POINTS = Metric(
    "nas_sweep_points_total", "points", "of landscapes measured, by kind", ("host", "kind")
)
RETRIES = Metric(
    "nas_sweep_retries_total",
    "attempts",
    "that failed and were made again, by reason: killed, evicted, node, cuda or graph",
    ("reason",),
)
METRICS = (
    TRIALS, SURFACES, EPOCHS_LEFT, POINTS_LEFT, PROGRESS, SPEED, MEMORY, EPOCHS, POINTS, RETRIES,
)  # fmt: skip


def launch_labels(launch: str, experiments: Iterable[str]) -> dict[str, str]:
    """Return the labels that distinguish a launch: its id, and the names of its experiments."""
    first, more = [*experiments][:NAMED], len([*experiments]) - NAMED
    named = ", ".join(first) + (f" and {more} more" if more > 0 else "")
    return {"launch": launch, "experiments": named}


class _LastReport(NamedTuple):
    """The last report of a running item's worker."""

    host: str
    process: str
    speed: float | None
    memory: float | None


class Collector:
    """Collects a launch's samples; `collect` and `on_report` may be called by different threads.

    Args:
        queue: The queue, which has what runs, the endings and the retries.
        work: All trials and surfaces of the launch by id.
        progress: Progress of all of them.
    """

    def __init__(self, queue: Queue, work: Mapping[str, Work], progress: Progress) -> None:
        self._queue, self._progress = queue, progress
        self._parts = progress.trials, progress.surfaces
        self._kinds = {
            n: w.kind if isinstance(w, SurfaceSpec) else "trial" for n, w in work.items()
        }
        self._reports: dict[str, _LastReport] = {}
        self._retried: Counter[str] = Counter()
        self._lock = threading.Lock()

    def on_report(self, result: Mapping[str, Any]) -> list[Sample]:
        """Return the samples of a worker's report of epochs, points or an outcome (`trainable`).

        Tune repeats the last report of an item when it ends: that one must not come here.
        """
        name = result.get("item", "")
        host, process = result.get("hostname", ""), str(result.get("pid", ""))
        with self._lock:
            if "status" in result:
                self._reports.pop(name, None)
            else:
                speed, memory = result.get("images_per_second"), result.get("peak_memory")
                self._reports[name] = _LastReport(host, process, speed, memory)
        if "epoch" in result:
            return [Sample(EPOCHS, {"host": host}, result["trained"])]
        if "points" in result:
            labels = {"host": host, "kind": self._kinds[name]}
            return [Sample(POINTS, labels, result["measured"])]
        return []

    def collect(self) -> list[Sample]:
        """Return all gauges, and by how much retries have grown since the last call."""
        # The queue changes in another thread: an item that ends between these two lines would
        # count both as ended and as running.
        endings = dict(self._queue.endings)
        running = [n for n in self._queue.working(self._progress.slots) if n not in endings]
        found: list[Sample] = []
        for part, metric, left in zip(
            self._parts, (TRIALS, SURFACES), (EPOCHS_LEFT, POINTS_LEFT), strict=True
        ):
            states = _count_states(part, endings, running)
            found += [Sample(metric, {"state": state}, n) for state, n in states.items()]
            found.append(Sample(left, {}, part.left))
        return found + self._collect_running(running) + self._collect_retries()

    def _collect_running(self, running: list[str]) -> list[Sample]:
        with self._lock:
            # A worker that died reported no outcome: its last report must not stand for the next.
            self._reports = {n: self._reports[n] for n in running if n in self._reports}
            reports = dict(self._reports)
        found = []
        for name, last in reports.items():
            labels = {"host": last.host, "process": last.process}
            labels |= {"kind": self._kinds[name], "item": name}
            for metric, value in (
                (PROGRESS, max(part.share(name) for part in self._parts)),
                (SPEED, last.speed),
                (MEMORY, last.memory),
            ):
                if value is not None:
                    found.append(Sample(metric, labels, value))
        return found

    def _collect_retries(self) -> list[Sample]:
        now = Counter(dict(self._queue.retries))
        grown, self._retried = now - self._retried, now
        return [Sample(RETRIES, {"reason": kind}, count) for kind, count in grown.items()]


def _count_states(part: Part, endings: Mapping[str, str], running: list[str]) -> dict[str, int]:
    """Return how many trials, or surfaces, are in each state; what ended before is done."""
    ended = Counter(endings[name] for name in part.sizes if name in endings)
    ended["done"] += part.before + ended.pop("ended by another launch", 0)
    count = sum(name in part.sizes for name in running)
    waiting = part.total - ended.total() - count
    return dict.fromkeys(STATES, 0) | ended | {"running": count, "waiting": waiting}


class Exporter:
    """Exports samples to Ray for as long as its context lasts, while Ray runs.

    Args:
        collector: Collects the launch's samples.
        launch: Id of the launch.
        experiments: Names of the experiments that it runs.
    """

    def __init__(self, collector: Collector, launch: str, experiments: Iterable[str]) -> None:
        self._collector = collector
        labels = launch_labels(launch, experiments)
        self._exported = {metric: _register(metric, labels) for metric in METRICS}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep_exporting, name="metrics", daemon=True)

    def __enter__(self) -> Exporter:
        self._export(self._collector.collect())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        # Once more: the last endings came since the thread's last export.
        self._export(self._collector.collect())

    def on_report(self, result: Mapping[str, Any]) -> None:
        """Export what a worker reported (`trainable`)."""
        self._export(self._collector.on_report(result))

    def _keep_exporting(self) -> None:
        while not self._over.wait(EXPORT_INTERVAL):
            self._export(self._collector.collect())

    def _export(self, samples: Iterable[Sample]) -> None:
        for metric, labels, value in samples:
            # Ray refuses to add 0 to a counter.
            exported = self._exported[metric]
            if isinstance(exported, ray_metrics.Gauge):
                exported.set(value, labels)
            elif value > 0:
                exported.inc(value, labels)


def _register(metric: Metric, labels: dict[str, str]) -> ray_metrics.Counter | ray_metrics.Gauge:
    kind = ray_metrics.Counter if metric.is_counter else ray_metrics.Gauge
    exported = kind(metric.name, f"{metric.meaning} ({metric.unit})", (*labels, *metric.labels))
    exported.set_default_tags(labels)
    return exported
