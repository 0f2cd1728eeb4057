"""Progress of a launch: live bars on a terminal, a line per ended trial or surface elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import takewhile

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from orchestrator.execution.queue import Queue
from orchestrator.output.text import duration
from orchestrator.planning.plan import Work
from results_schema import layout
from results_schema.trial import TrialSpec

UNFINISHED = ("failed", "cancelled", "untrained")
"""Endings after which a trial or surface remains to be run."""


@dataclass
class Part:
    """Progress of the launch's trials, or of its surfaces.

    Attributes:
        noun: "trials" or "surfaces".
        unit: The steps that they consist of: epochs or points.
        sizes: Number of steps of each, by id.
        before: Number of those that had ended before this launch.
        steps: Number of steps done of each so far.
        taken: Number of steps done since the launch began.
        ended: Those that have left the queue.
        size: Number of steps of all of them.
        left: Number of steps still to do.
        done: Number of those that have ended, here or before this launch.
    """

    noun: str
    unit: str
    sizes: dict[str, int]
    before: int
    steps: dict[str, int] = field(default_factory=dict)
    taken: int = 0
    ended: set[str] = field(default_factory=set)
    size: int = field(init=False)
    left: int = field(init=False)
    done: int = field(init=False)

    def __post_init__(self) -> None:
        self.size = self.left = sum(self.sizes.values())
        self.done = self.before

    @property
    def total(self) -> int:
        """Number of trials or surfaces, ended or not."""
        return len(self.sizes) + self.before

    # Both methods count as news comes, so that an epoch costs the same among ten thousand trials.

    def step(self, name: str, number: int) -> None:
        """Note that one of them has reached this step."""
        # The first report of a resumed trial covers epochs of earlier launches: `taken`, which
        # gives the speed, counts one step of them.
        known = self.steps.get(name, number - 1)
        self.taken += max(0, number - known)
        if name not in self.ended:
            self.left -= number - self.steps.get(name, 0)
        self.steps[name] = number

    def end(self, name: str, status: str) -> None:
        """Note that one of them has left the queue, for the first time."""
        self.ended.add(name)
        # A trial that diverged or failed takes its untrained epochs along.
        self.left -= self.sizes[name] - self.steps.get(name, 0)
        self.done += status not in UNFINISHED

    def share(self, name: str) -> float:
        """Return the share of one that is done, from 0 to 1; 0 for an unknown id."""
        return self.steps.get(name, 0) / self.sizes.get(name, 1)


class Progress:
    """Progress of all that a queue holds. As a context it shows the bars.

    Args:
        queue: The queue whose endings are counted.
        work: All trials and surfaces of the launch by id.
        ended: How many trials and how many surfaces had ended before.
        slots: Number of items that run side by side; what else was offered waits for a slot.
        console: Where to show the progress.

    Attributes:
        slots: The same, updated as nodes come and go.
        trials: Progress of the trials.
        surfaces: Progress of the surfaces.
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
        self._queue, self._console, self.slots = queue, console, slots
        epochs = {n: w.recipe.epochs for n, w in work.items() if isinstance(w, TrialSpec)}
        points = {n: w.points for n, w in work.items() if not isinstance(w, TrialSpec)}
        self.trials = Part("trials", "epochs", epochs, ended[0])
        self.surfaces = Part("surfaces", "points", points, ended[1])
        self._failed = 0
        self._start = time.monotonic()
        self._bar = Bar(
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[done]}/{task.fields[of]} done"),
            _StatusColumn(self),
            console=console,
            refresh_per_second=4,
            expand=True,
        )
        self._tasks: dict[TaskID, Part] = {}
        for part in (self.trials, self.surfaces):
            if part.sizes:
                size, done = part.size, part.done
                task = self._bar.add_task(part.noun, total=size, done=done, of=part.total)
                self._tasks[task] = part

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refresh()
        if self._console.is_terminal:
            self._bar.stop()

    def step(self, name: str, number: int) -> None:
        """Note that a trial has come to this epoch, or a surface has so many points."""
        self._part(name).step(name, number)

    def refresh(self) -> None:
        """Show what has changed in the queue."""
        for name, status in self._new_endings():
            part = self._part(name)
            part.end(name, status)
            self._failed += status == "failed"
            self._print_ending(name, status, part)
        for task, part in self._tasks.items():
            self._bar.update(task, completed=part.size - part.left, done=part.done)

    def _new_endings(self) -> list[tuple[str, str]]:
        # New endings are the last ones of the dict: older ones need not be compared again.
        endings = self._queue.endings
        new = takewhile(lambda name: name not in self._part(name).ended, reversed(endings))
        return [(name, endings[name]) for name in new][::-1]

    def _part(self, name: str) -> Part:
        return self.surfaces if layout.is_surface(name) else self.trials

    def _print_ending(self, name: str, status: str, part: Part) -> None:
        reason = self._queue.reasons.get(name, "")
        if status == "failed":
            self._console.print(
                f"failed {name}: {reason}", style="red", markup=False, highlight=False
            )
        elif not self._console.is_terminal:
            self._console.print(
                f"{part.done}/{part.total} {name} {status}; {self.status(part)}", markup=False
            )

    def status(self, part: Part) -> str:
        """Return a status such as `2 running, 0 failed, 3.1 epochs/s, 4 min left`.

        Args:
            part: The trials or surfaces whose speed and remaining time are shown.
        """
        speed = part.taken / max(time.monotonic() - self._start, 1e-9)
        shown = [
            f"{len(self._queue.working(self.slots))} running",
            f"{self._failed} failed",
            f"{speed:.2g} {part.unit}/s",
        ]
        if speed > 0:
            shown.append(f"{duration(part.left / speed)} left")
        return ", ".join(shown)

    def task_status(self, task: TaskID) -> str:
        """Return the status beside one bar."""
        return self.status(self._tasks[task])


class _StatusColumn(ProgressColumn):
    """The status, computed when it is drawn."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.task_status(task.id), style="dim")
