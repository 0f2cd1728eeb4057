"""What a launch says while it runs: plain lines off a terminal, one bar on it."""

import io
import re

import pytest
from rich.console import Console

from orchestrator.progress import Progress
from orchestrator.queue import Queue
from results_schema.store import open_store
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def make(tmp_path, terminal: bool) -> tuple[Queue, Progress, io.StringIO]:
    specs = [
        TrialSpec(named("DARTS"), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=10), 0.025, seed)
        for seed in range(3)
    ]
    queue, shown = Queue(open_store(tmp_path / "results")), io.StringIO()
    queue.add(specs)
    console = Console(file=shown, force_terminal=terminal, width=120)
    trials = {spec.trial_id: spec for spec in specs}
    return queue, Progress(queue, trials, ended=(4, 0), slots=2, console=console), shown


@pytest.mark.parametrize("terminal", [False, True])
def test_trials_epochs_and_failures_are_counted(tmp_path, terminal):
    queue, progress, shown = make(tmp_path, terminal)
    with progress:
        items = [queue.offer() for _ in range(3)]
        done, failed, running = (item for item in items if item is not None)
        for epoch in range(1, 11):
            progress.epoch(done.names[0], epoch)
        queue.settle(done.token, done.names[0], "done", "")
        queue.close(done.token)
        progress.refresh()
        failure = "no [bold]such[/bold] file"
        queue.settle(failed.token, failed.names[0], "failed", failure, "data")
        queue.close(failed.token)
        progress.epoch(running.names[0], 5)
        progress.refresh()
        assert re.match(r"1 running, 1 failed, \S+ epochs/s, .* left", progress.status())
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert f"failed {failed.names[0]}: {failure}" in text, "markup in it is no markup"
    if terminal:
        assert "5/7 done" in text
    else:
        assert f"5/7 {done.names[0]} done; 2 running, 0 failed" in text
        assert len(text.splitlines()) == 2
