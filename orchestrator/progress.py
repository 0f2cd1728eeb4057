"""Progress of a launch: live bars on a terminal, a line per ended trial or surface elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from orchestrator.items import Work
from orchestrator.queue import Queue
from orchestrator.words import span
from results_schema import layout
from results_schema.trial import TrialSpec

LEFT = ("failed", "cancelled", "untrained")
"""Endings that leave a trial or surface owed."""


@dataclass
class Part:
    """Progress of the launch's trials, or of its surfaces.

    Attributes:
        noun: "trials" or "surfaces".
        unit: What they are made of: epochs or points.
        sizes: How many of those each has, by id.
        before: How many had ended before this launch.
        steps: How many of those each has so far.
        taken: Steps since the launch began.
    """

    noun: str
    unit: str
    sizes: dict[str, int]
    before: int
    steps: dict[str, int] = field(default_factory=dict)
    taken: int = 0

    @property
    def total(self) -> int:
        """How many there are, ended or not."""
        return len(self.sizes) + self.before

    def step(self, name: str, number: int) -> None:
        """One of them has come to this step; whatever it had before this launch is not counted."""
        known = self.steps.get(name, number - 1)
        self.taken += max(0, number - known)
        self.steps[name] = number

    def left(self, endings: Mapping[str, str]) -> int:
        """Steps still to do."""
        return sum(
            size - self.steps.get(name, 0)
            for name, size in self.sizes.items()
            if name not in endings
        )

    def done(self, endings: Mapping[str, str]) -> int:
        """How many have ended, those before the launch among them."""
        return self.before + sum(endings.get(name, "failed") not in LEFT for name in self.sizes)


class Progress:
    """Watches the queue. As a context it shows the bars, which grow with every epoch and point.

    Args:
        queue: Whose endings are counted.
        work: All trials and surfaces of the launch by id.
        ended: How many trials and how many surfaces had ended before.
        slots: How many items run side by side; what else was offered is waiting for room.
        console: Where to show it.
    """

    def __init__(
        self,
        queue: Queue,
        work: Mapping[str, Work],
        *,
        ended: tuple[int, int],
        slots: int,
        console: Console,
    ) -> None:
        self._queue, self._console, self._slots = queue, console, slots
        epochs = {n: w.recipe.epochs for n, w in work.items() if isinstance(w, TrialSpec)}
        points = {n: w.rows * w.columns for n, w in work.items() if not isinstance(w, TrialSpec)}
        self._trials = Part("trials", "epochs", epochs, ended[0])
        self._surfaces = Part("surfaces", "points", points, ended[1])
        self._told: set[str] = set()
        self._start = time.monotonic()
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}/{task.fields[of]} done"),
            _Status(self),
            console=console,
            refresh_per_second=4,
            expand=True,
        )
        self._tasks: dict[TaskID, Part] = {}
        for part in (self._trials, self._surfaces):
            if part.sizes:
                size = sum(part.sizes.values())
                task = self._bar.add_task(part.noun, total=size, done=part.before, of=part.total)
                self._tasks[task] = part

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        if self._console.is_terminal:
            self._bar.stop()

    def epoch(self, trial_id: str, epoch: int) -> None:
        """An epoch of a trial was trained."""
        self._trials.step(trial_id, epoch)

    def points(self, surface_id: str, done: int) -> None:
        """Points of a surface were measured."""
        self._surfaces.step(surface_id, done)

    def refresh(self) -> None:
        """Shows what has changed in the queue."""
        endings = self._queue.endings
        for task, part in self._tasks.items():
            left = sum(part.sizes.values()) - part.left(endings)
            self._bar.update(task, completed=left, done=part.done(endings))
        for name in [name for name in endings if name not in self._told]:
            self._told.add(name)
            self._tell(name, endings[name])

    def _tell(self, name: str, status: str) -> None:
        reason = self._queue.reasons.get(name, "")
        part = self._surfaces if layout.is_surface(name) else self._trials
        if status == "failed":
            self._console.print(
                f"failed {name}: {reason}", style="red", markup=False, highlight=False
            )
        elif not self._console.is_terminal:
            done = part.done(self._queue.endings)
            self._console.print(
                f"{done}/{part.total} {name} {status}; {self.status(part)}", markup=False
            )

    def status(self, part: Part | None = None) -> str:
        """Such as `2 running, 0 failed, 3.1 epochs/s, 4 min left`.

        Args:
            part: Of which the speed is told; the trials if there are any, else the surfaces.
        """
        # A thread of the bar's asks, while the queue goes on.
        endings = dict(self._queue.endings)
        part = part or (self._trials if self._trials.sizes else self._surfaces)
        failed = sum(status == "failed" for status in endings.values())
        speed = part.taken / max(time.monotonic() - self._start, 1e-9)
        parts = [
            f"{self._queue.at_work(self._slots)} running",
            f"{failed} failed",
            f"{speed:.2g} {part.unit}/s",
        ]
        if speed > 0:
            parts.append(f"{span(part.left(endings) / speed)} left")
        return ", ".join(parts)

    def status_of(self, task: TaskID) -> str:
        """The status that stands behind one bar."""
        return self.status(self._tasks[task])


class _Status(ProgressColumn):
    """The status, computed when it is drawn."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.status_of(task.id), style="dim")
