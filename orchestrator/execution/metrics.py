"""Tells a launch's metrics to Ray, at whose nodes Prometheus reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

from ray.util.metrics import Counter, Gauge

from orchestrator.execution.readings import METRICS, Metric, Reading, Watch, launch_labels

EVERY = 2.0
"""Seconds between two tellings of how things stand: Ray forgets what isn't told again within the
interval at which it gathers, 10 seconds by default, so that no metric outlives its launch."""


class Meter:
    """Tells what a watch finds for as long as this context lasts; Ray is up meanwhile.

    Args:
        watch: Of the launch.
        launch: Its id.
        experiments: Names of what it launches.
    """

    def __init__(self, watch: Watch, launch: str, experiments: Iterable[str]) -> None:
        self._watch = watch
        labels = launch_labels(launch, experiments)
        self._told = {metric: _register(metric, labels) for metric in METRICS}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="metrics", daemon=True)

    def __enter__(self) -> Meter:
        self._tell(self._watch.standing())
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._tell(self._watch.standing())

    def heard(self, result: Mapping[str, Any]) -> None:
        """A worker reported (`trainable`)."""
        self._tell(self._watch.heard(result))

    def _go_on(self) -> None:
        while not self._over.wait(EVERY):
            self._tell(self._watch.standing())

    def _tell(self, readings: Iterable[Reading]) -> None:
        for metric, labels, value in readings:
            told = self._told[metric]
            if isinstance(told, Gauge):
                told.set(value, labels)
            elif value > 0:
                told.inc(value, labels)


def _register(metric: Metric, labels: dict[str, str]) -> Counter | Gauge:
    kind = Counter if metric.grows else Gauge
    told = kind(metric.name, f"{metric.meaning} ({metric.unit})", (*labels, *metric.labels))
    told.set_default_tags(labels)
    return told
