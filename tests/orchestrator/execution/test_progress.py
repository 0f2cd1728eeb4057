"""What a launch says while it runs: plain lines off a terminal, one bar on it."""

import io
import re

import pytest
from calls import calls
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from orchestrator.execution.progress import UNFINISHED, Part, Progress
from orchestrator.execution.queue import Queue
from results_schema.store import open_store
from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named


def make(tmp_path, terminal: bool, count: int = 3) -> tuple[Queue, Progress, io.StringIO]:
    specs = [
        TrialSpec(named("DARTS"), "digits", 1, NetworkSpec(3, 2), Recipe(epochs=10), 0.025, seed)
        for seed in range(count)
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
            progress.step(done.names[0], epoch)
        queue.settle(done.token, done.names[0], "done", "")
        queue.close(done.token)
        progress.refresh()
        failure = "no [bold]such[/bold] file"
        queue.settle(failed.token, failed.names[0], "failed", failure, "data")
        queue.close(failed.token)
        progress.step(running.names[0], 5)
        progress.refresh()
        assert re.match(
            r"1 running, 1 failed, \S+ epochs/s, .* left", progress.status(progress.trials)
        )
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.getvalue())
    assert f"failed {failed.names[0]}: {failure}" in text, "markup in it is no markup"
    if terminal:
        assert "5/7 done" in text
    else:
        assert f"5/7 {done.names[0]} done; 2 running, 0 failed" in text
        assert len(text.splitlines()) == 2


SIZES = {"a": 10, "b": 10, "c": 4}
NEWS = st.integers(1, 10) | st.sampled_from(["done", "diverged", *UNFINISHED])


@given(st.lists(st.tuples(st.sampled_from(sorted(SIZES)), NEWS)))
def test_what_is_counted_as_it_comes_is_what_there_is(events: list[tuple[str, int | str]]):
    part, steps, endings = Part("trials", "epochs", SIZES, before=2), {}, {}
    for name, news in events:
        if isinstance(news, int):
            part.step(name, news)
            steps[name] = news
        elif name not in endings:
            part.end(name, news)
            endings[name] = news
        running = SIZES.keys() - endings.keys()
        assert part.left == sum(SIZES[n] - steps.get(n, 0) for n in running)
        assert part.done == 2 + sum(status not in UNFINISHED for status in endings.values())


def test_news_of_one_trial_cost_the_same_among_many(tmp_path):
    def cost_of_one(count: int) -> int:
        queue, progress, _ = make(tmp_path / str(count), False, count)
        for _ in range(count - 1):
            item = queue.offer()
            assert item is not None
            queue.settle(item.token, item.names[0], "done", "")
            queue.close(item.token)
        progress.refresh()
        last = queue.offer()
        assert last is not None
        progress.step(last.names[0], 10)
        queue.settle(last.token, last.names[0], "done", "")
        return calls(progress.refresh)

    assert abs(cost_of_one(300) - cost_of_one(3)) < 150
