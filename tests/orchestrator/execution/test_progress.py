"""What a launch shows while it runs: lines off a terminal, bars on it, and metrics."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from calls import calls
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from small_queues import offer, spec

from orchestrator.execution import progress as module
from orchestrator.execution.progress import (
    METRICS,
    STATES,
    UNFINISHED,
    Part,
    Progress,
    launch_labels,
)
from orchestrator.execution.queue import BACKOFF, Queue
from orchestrator.output.text import duration
from orchestrator.planning.plan import Work, work_id
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec

HERE = {"hostname": "h", "pid": 7}
EPOCH = {"epoch": 1, "trained": 1, "images_per_second": 250.0, "peak_memory": 1e9} | HERE


class Watched:
    """The progress of trials or surfaces that are never run, on two slots, and what it shows."""

    def __init__(
        self, folder: Path, *work: Work, ended: int = 0, terminal: bool = False, width: int = 120
    ) -> None:
        self.now = 100.0
        self.queue, self.shown = Queue(LocalStore(folder), lambda: self.now), io.StringIO()
        self.queue.add([one for one in work if not isinstance(one, SurfaceSpec)])
        self.queue.add_surfaces([one for one in work if isinstance(one, SurfaceSpec)])
        console = Console(file=self.shown, force_terminal=terminal, width=width)
        named = {work_id(one): one for one in work}
        # A second an epoch, and ten a point.
        seconds = {
            name: 10.0 * one.points if isinstance(one, SurfaceSpec) else float(one.epochs)
            for name, one in named.items()
        }
        self.progress = Progress(
            self.queue, named, seconds, ended=(ended, 0), slots=2, console=console
        )

    def end(self, token: str, name: str, status: str = "done", reason: str = "") -> None:
        self.queue.settle(token, name, status, reason, "data" if status == "failed" else "")
        self.queue.close(token)

    def values(self, name: str) -> dict[tuple[str, ...], float]:
        """Values of one metric, by those of its labels."""
        return {
            tuple(one.labels.values()): one.value
            for one in self.progress.samples()
            if one.metric == f"nas_sweep_{name}"
        }

    def states(self, name: str = "trials") -> dict[str, float]:
        """How many are in each state that some are in."""
        return {state: count for (state,), count in self.values(name).items() if count}


@pytest.mark.parametrize("terminal", [False, True])
def test_endings_are_shown_with_the_speed_and_the_time_left(tmp_path, monkeypatch, terminal):
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    watched = Watched(tmp_path, *map(spec, range(3)), ended=4, terminal=terminal)
    progress, failure = watched.progress, "no [bold]such[/bold] file"
    with progress:
        (one, done), (two, failed), (_, running) = (offer(watched.queue) for _ in range(3))
        now = 5.0
        progress.step(done, 1)
        watched.end(one.token, done)
        progress.refresh()
        assert progress.status(progress.trials) == "2 running, 0 failed, 0.2 epochs/s, 10 s left"
        watched.end(two.token, failed, "failed", failure)
        progress.step(running, 1)
        progress.refresh()
        assert progress.status(progress.trials) == "1 running, 1 failed, 0.4 epochs/s, 0 s left"
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", watched.shown.getvalue())
    assert f"failed {failed}: {failure}" in text, "markup in it is no markup"
    if terminal:
        assert " 5/7 " in text
    else:
        lines = text.splitlines()
        assert lines[0] == f"5/7 {done} done; 2 running, 0 failed, 0.2 epochs/s, 10 s left"
        assert len(lines) == 2


def test_the_time_left_is_the_launchs_and_weighs_points_by_what_they_take(tmp_path, monkeypatch):
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    trial = spec(0)
    surface = SurfaceSpec(trial, trial.epochs, "contour", rows=3, columns=3)
    watched = Watched(tmp_path, trial, surface)
    progress = watched.progress
    trial_left, points_left = trial.epochs, surface.points
    now = 6.0
    progress.step(trial.trial_id, 1)
    expected = 6 * (trial_left - 1 + 10 * points_left)
    assert progress.status(progress.trials).endswith(f", {duration(expected)} left")
    now = 22.0
    progress.step(surface.surface_id, 1)
    expected = 22 / 11 * (trial_left - 1 + 10 * (points_left - 1))
    for part in (progress.trials, progress.surfaces):
        assert progress.status(part).endswith(f", {duration(expected)} left")


SIZES = {"a": 10, "b": 10, "c": 4}
SECONDS = {"a": 20.0, "b": 5.0, "c": 4.0}
REPORTS = st.integers(1, 10) | st.sampled_from(["done", "diverged", *UNFINISHED])


@given(st.lists(st.tuples(st.sampled_from(sorted(SIZES)), REPORTS), max_size=12))
def test_what_is_counted_report_by_report_is_what_there_is(events):
    part, steps, endings, taken = Part("trials", "epochs", SIZES, SECONDS, before=2), {}, {}, 0
    for name, report in events:
        if isinstance(report, int):
            part.step(name, report)
            # The first report of a resumed trial counts as one step of this launch.
            taken += max(0, report - steps.get(name, report - 1))
            steps[name] = report
        elif name not in endings:
            part.end(name, report)
            endings[name] = report
    running = SIZES.keys() - endings.keys()
    assert part.left == sum(SIZES[n] - steps.get(n, 0) for n in running)
    shares = [SECONDS[n] * (1 - steps.get(n, 0) / SIZES[n]) for n in running]
    assert part.seconds_left == pytest.approx(sum(shares))
    assert part.done == 2 + sum(status not in UNFINISHED for status in endings.values())
    assert (part.taken, part.total) == (taken, 5)


def test_a_report_of_one_trial_costs_the_same_among_many(tmp_path):
    def cost_of_one(count: int) -> int:
        watched = Watched(tmp_path / str(count), *map(spec, range(count)))
        for _ in range(count - 1):
            item, name = offer(watched.queue)
            watched.end(item.token, name)
        watched.progress.refresh()
        item, name = offer(watched.queue)
        watched.end(item.token, name)
        return calls(watched.progress.refresh)

    assert abs(cost_of_one(100) - cost_of_one(3)) < 50


def test_every_trial_is_in_one_state_from_its_offer_to_its_ending(tmp_path):
    watched = Watched(tmp_path, *map(spec, range(6)), ended=4)
    assert watched.states() == {"waiting": 6, "done": 4}
    assert set(watched.values("trials")) == {(state,) for state in STATES}
    (first, one), (second, two), (ahead, three) = (offer(watched.queue) for _ in range(3))
    assert watched.states() == {"waiting": 4, "running": 2, "done": 4}, "no slot for the third yet"
    assert watched.values("epochs_left") == {(): 6}
    watched.progress.step(one, 1)
    watched.end(first.token, one)
    watched.end(second.token, two, "diverged")
    watched.end(ahead.token, three, "failed")
    watched.progress.refresh()
    assert watched.states() == {"waiting": 3, "done": 5, "diverged": 1, "failed": 1}
    assert watched.values("epochs_left") == {(): 3}
    item, name = offer(watched.queue)
    watched.queue.settle(item.token, name, "failed", "gone", "killed")
    watched.queue.close(item.token)
    assert watched.values("retries_total") == {("killed",): 1}
    assert watched.values("retries_total") == {}, "a counter's sample is by how much it grew"
    assert watched.states()["waiting"] == 3
    other = spec(5).trial_id
    watched.queue.endings[other] = "ended by another launch"
    assert watched.states()["done"] == 6


def test_a_running_trial_is_sampled_under_its_own_name_and_no_longer(tmp_path):
    watched = Watched(tmp_path, spec(0))
    report, labels = watched.progress.on_report, ("h", "7", "trial", spec(0).trial_id)
    item, name = offer(watched.queue)
    assert watched.values("item_progress") == {}
    watched.progress.step(name, 1)
    [grown] = report({"item": name} | EPOCH)
    assert (grown.metric, grown.labels, grown.value) == (
        "nas_sweep_epochs_total", {"host": "h"}, 1,
    )  # fmt: skip
    expected = {"item_progress": 1, "images_per_second": 250, "peak_memory_bytes": 1e9}
    for metric, value in expected.items():
        assert watched.values(metric) == {labels: value}
    watched.queue.close(item.token)  # its worker died
    assert watched.values("images_per_second") == {}
    watched.now += BACKOFF
    offer(watched.queue)
    assert watched.values("images_per_second") == {}, "the last worker's report does not stand"
    report({"item": name} | EPOCH)
    assert watched.values("images_per_second") == {labels: 250}
    # The last epochs come with the outcome.
    [grown] = report({"item": name, "epoch": 4, "trained": 3, "status": "done"} | HERE)
    assert (grown.labels, grown.value) == ({"host": "h"}, 3)
    assert report({"item": name, "status": "failed"} | HERE) == []
    assert watched.values("images_per_second") == {}


def test_points_are_counted_by_kind_and_a_surface_without_its_trial_is_untrained(tmp_path):
    surfaces = [SurfaceSpec(spec(seed), 1, "contour", rows=5, columns=5) for seed in (0, 1)]
    watched = Watched(tmp_path, spec(1), *surfaces)
    item, name = offer(watched.queue)
    watched.progress.step(name, 15)
    [grown] = watched.progress.on_report({"item": name, "points": 15, "measured": 10} | HERE)
    assert (grown.metric, grown.labels, grown.value) == (
        "nas_sweep_points_total", {"host": "h", "kind": "contour"}, 10,
    )  # fmt: skip
    assert watched.values("item_progress") == {("h", "7", "contour", name): 0.6}
    assert watched.values("images_per_second") == {}
    assert watched.values("points_left") == {(): 35}
    watched.end(item.token, name)
    item, name = offer(watched.queue)
    watched.end(item.token, name, "failed")
    assert watched.states("surfaces") == {"done": 1, "untrained": 1}


def test_a_launch_is_named_by_few_of_its_experiments_and_the_documents_name_every_metric():
    labels = launch_labels("ab12", [f"fig{number}" for number in range(3, 9)])
    assert labels == {"launch": "ab12", "experiments": "fig3, fig4, fig5 and 3 more"}
    assert launch_labels("ab12", ["a", "b", "c"])["experiments"] == "a, b, c"
    text = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `ray_(nas_sweep_\w+)` \| (.+) \| (.*) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [
        (m.name, m.unit, ", ".join(f"`{label}`" for label in m.labels), m.meaning) for m in METRICS
    ]
    assert all(f"`{label}`" in text for label in labels)


def test_trials_and_surfaces_have_a_line_of_80_columns_each_with_counts_of_their_own(
    tmp_path, monkeypatch
):
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    trials = [spec(seed) for seed in range(2)]
    surfaces = [SurfaceSpec(trial, 0, "contour", rows=51, columns=51) for trial in trials]
    watched = Watched(tmp_path, *trials, *surfaces, ended=12_345, terminal=True, width=80)
    progress = watched.progress
    [first, _] = [offer(watched.queue) for _ in range(2)]
    now = 90.0
    progress.step(work_id(surfaces[0]), 40)
    watched.end(first[0].token, first[1], "failed", "x")
    progress.refresh()
    shown = io.StringIO()
    Console(width=80, file=shown, color_system=None).print(progress.bar.get_renderable())
    lines = shown.getvalue().splitlines()
    assert [line.split()[0] for line in lines] == ["trials", "surfaces"]
    assert "12345/12347" in lines[0]
    assert "0/2" in lines[1]
    assert sum("1 failed" in line for line in lines) == 1
    assert max(map(len, lines)) <= 80
