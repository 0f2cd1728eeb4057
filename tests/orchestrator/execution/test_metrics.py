"""What a launch tells of itself, and that the documents say the same."""

from __future__ import annotations

import io
import re
from pathlib import Path

from rich.console import Console
from small_queues import make, offer, spec

from orchestrator.execution.progress import METRICS, STATES, Progress, launch_labels
from orchestrator.execution.queue import Queue
from orchestrator.planning.plan import Work
from results_schema.store import LocalStore
from results_schema.surface import SurfaceSpec

SLOTS = 2
HERE = {"hostname": "h", "pid": 7}
EPOCH = {"epoch": 1, "trained": 1, "images_per_second": 250.0, "peak_memory": 1e9} | HERE


def watch(queue: Queue, *work: Work, ended: tuple[int, int] = (0, 0)) -> Progress:
    names = {getattr(w, "surface_id", getattr(w, "trial_id", "")): w for w in work}
    console = Console(file=io.StringIO())
    return Progress(queue, names, ended=ended, slots=SLOTS, console=console)


def values(told: Progress, name: str) -> dict[tuple[str, ...], float]:
    """Of one metric, by its labels' values."""
    return {
        tuple(reading.labels.values()): reading.value
        for reading in told.samples()
        if reading.metric == f"nas_sweep_{name}"
    }


def states(told: Progress, name: str = "trials") -> dict[str, float]:
    """How many trials are in each state that some are in."""
    return {state: count for (state,), count in values(told, name).items() if count}


def test_every_trial_is_in_one_state_from_its_offer_to_its_ending(tmp_path):
    queue, clock = make(LocalStore(tmp_path), 6)
    told = progress = watch(queue, *map(spec, range(6)), ended=(4, 0))
    assert states(told) == {"waiting": 6, "done": 4}
    assert set(values(told, "trials")) == {(state,) for state in STATES}
    first, name = offer(queue)
    second, other = offer(queue)
    assert states(told) == {"waiting": 4, "running": 2, "done": 4}
    ahead, third = offer(queue)
    assert states(told) == {"waiting": 4, "running": 2, "done": 4}, "no room for it yet"
    assert values(told, "epochs_left") == {(): 6}
    progress.step(name, 1)
    queue.settle(first.token, name, "done", "")
    queue.settle(second.token, other, "diverged", "NaN")
    queue.settle(ahead.token, third, "failed", "no such file", "data")
    for item in (first, second, ahead):
        queue.close(item.token)
    progress.refresh()
    assert states(told) == {"waiting": 3, "done": 5, "diverged": 1, "failed": 1}
    assert values(told, "epochs_left") == {(): 3}
    clock.now += 1000
    last, name = offer(queue)
    queue.settle(last.token, name, "failed", "gone", "killed")
    queue.close(last.token)
    assert values(told, "retries_total") == {("killed",): 1}
    assert values(told, "retries_total") == {}, "a total tells by how much it grew"
    assert states(told)["waiting"] == 3


def test_a_running_trial_is_told_under_its_own_name_and_no_longer(tmp_path):
    queue, _ = make(LocalStore(tmp_path), 1)
    told = progress = watch(queue, spec(0))
    item, name = offer(queue)
    assert values(told, "item_progress") == {}
    progress.step(name, 1)
    [grown] = told.on_report({"item": name} | EPOCH)
    assert (grown.metric, grown.labels, grown.value) == (
        "nas_sweep_epochs_total", {"host": "h"}, 1,
    )  # fmt: skip
    labels = ("h", "7", "trial", name)
    assert values(told, "item_progress") == {labels: 1}
    assert values(told, "images_per_second") == {labels: 250}
    assert values(told, "peak_memory_bytes") == {labels: 1e9}
    queue.close(item.token)  # its worker died
    assert values(told, "images_per_second") == {}
    offer(queue)
    assert values(told, "images_per_second") == {}, "what the last worker said is of no worth"
    told.on_report({"item": name} | EPOCH)
    # The last epochs come with the outcome.
    [grown] = told.on_report({"item": name, "epoch": 4, "trained": 3, "status": "done"} | HERE)
    assert (grown.labels, grown.value) == ({"host": "h"}, 3)
    assert told.on_report({"item": name, "status": "failed"} | HERE) == []
    assert values(told, "images_per_second") == {}


def test_points_are_counted_by_kind_and_a_surface_without_its_trial_is_untrained(tmp_path):
    queue = Queue(LocalStore(tmp_path))
    surfaces = [SurfaceSpec(spec(seed), 1, "contour", rows=5, columns=5) for seed in (0, 1)]
    queue.add([spec(1)])
    queue.add_surfaces(surfaces)
    told = progress = watch(queue, spec(1), *surfaces)
    item, name = offer(queue)
    assert name == surfaces[0].surface_id
    progress.step(name, 15)
    [grown] = told.on_report({"item": name, "points": 15, "measured": 10} | HERE)
    assert (grown.labels, grown.value) == ({"host": "h", "kind": "contour"}, 10)
    assert values(told, "item_progress") == {("h", "7", "contour", name): 0.6}
    assert values(told, "images_per_second") == {}
    assert values(told, "points_left") == {(): 35}
    queue.settle(item.token, name, "done", "")
    queue.close(item.token)
    failing, trial = offer(queue)
    queue.settle(failing.token, trial, "failed", "no such file", "data")
    assert states(told, "surfaces") == {"done": 1, "untrained": 1}


def test_a_launch_is_named_by_few_of_its_experiments():
    labels = launch_labels("ab12", [f"fig{number}" for number in range(3, 9)])
    assert labels == {"launch": "ab12", "experiments": "fig3, fig4, fig5 and 3 more"}
    assert launch_labels("ab12", ["fig9"])["experiments"] == "fig9"


def test_the_documents_tell_every_metric():
    text = (Path(__file__).parents[3] / "docs/monitoring.md").read_text()
    rows = re.findall(r"^\| `ray_(nas_sweep_\w+)` \| (.+) \| (.*) \| (.+) \|$", text, re.MULTILINE)
    assert rows == [
        (m.name, m.unit, ", ".join(f"`{label}`" for label in m.labels), m.meaning) for m in METRICS
    ]
    for label in launch_labels("", []):
        assert f"`{label}`" in text
