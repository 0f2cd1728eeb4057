"""Progress of a launch: one live bar on a terminal, a line per ended trial elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from orchestrator.queue import Queue
from orchestrator.words import span
from results_schema.trial import TrialSpec


class Progress:
    """Watches the queue. As a context it shows the bar, which grows with every epoch.

    Args:
        queue: Whose endings are counted.
        trials: All trials of the launch by id, for the epochs they have to train.
        ended: How many trials had ended before.
        slots: How many trials run side by side; what else was offered is waiting for room.
        console: Where to show it.
    """

    def __init__(
        self,
        queue: Queue,
        trials: Mapping[str, TrialSpec],
        *,
        ended: int,
        slots: int,
        console: Console,
    ) -> None:
        self._queue, self._trials, self._console = queue, trials, console
        self._slots = slots
        self._before, self._total = ended, len(trials) + ended
        self._epochs: dict[str, int] = {}
        self._trained = 0
        self._told: set[str] = set()
        self._start = time.monotonic()
        self._bar = Bar(
            TextColumn("[bold]trials"),
            BarColumn(bar_width=None),
            TextColumn(f"{{task.fields[done]}}/{self._total} done"),
            _Status(self),
            console=console,
            refresh_per_second=4,
            expand=True,
        )
        self._task = self._bar.add_task("trials", total=self._epochs_left(), done=ended)

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
        self._epochs[trial_id] = epoch
        self._trained += 1

    def refresh(self) -> None:
        """Shows what has changed in the queue."""
        endings = self._queue.endings
        left = ("failed", "cancelled")
        done = self._before + sum(status not in left for status in endings.values())
        total = self._bar.tasks[0].total or 0
        self._bar.update(self._task, completed=total - self._epochs_left(), done=done)
        for trial_id in endings.keys() - self._told:
            self._told.add(trial_id)
            self._tell(trial_id, endings[trial_id], done)

    def _tell(self, trial_id: str, status: str, done: int) -> None:
        reason = self._queue.reasons.get(trial_id, "")
        if status == "failed":
            self._console.print(
                f"failed {trial_id}: {reason}", style="red", markup=False, highlight=False
            )
        elif not self._console.is_terminal:
            self._console.print(
                f"{done}/{self._total} {trial_id} {status}; {self.status}", markup=False
            )

    @property
    def status(self) -> str:
        """Such as `2 running, 0 failed, 3.1 epochs/s, 4 min left`."""
        # A thread of the bar's asks, while the queue goes on.
        failed = sum(status == "failed" for status in list(self._queue.endings.values()))
        speed = self._trained / max(time.monotonic() - self._start, 1e-9)
        parts = [
            f"{min(self._queue.running, self._slots)} running",
            f"{failed} failed",
            f"{speed:.2g} epochs/s",
        ]
        if speed > 0:
            parts.append(f"{span(self._epochs_left() / speed)} left")
        return ", ".join(parts)

    def _epochs_left(self) -> int:
        return sum(
            spec.recipe.epochs - self._epochs.get(trial_id, 0)
            for trial_id, spec in self._trials.items()
            if trial_id not in self._queue.endings
        )


class _Status(ProgressColumn):
    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self._progress = progress

    def render(self, task: Task) -> Text:
        return Text(self._progress.status, style="dim")
