"""Shows how the trials of a store stand: once, as JSON, or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.housekeeping.lookup import existing_store
from orchestrator.housekeeping.status import STATES, UNNAMED, Observer, Running, Status, as_json
from orchestrator.housekeeping.surface_status import SURFACE_STATES, Measuring
from orchestrator.output.text import duration, one_line
from results_schema import layout
from results_schema.store import Store

EVERY = 2.0
"""Seconds between two looks."""
STYLES = {"failed": "red", "diverged": "yellow", "damaged": "red"}


def show_status(
    names: Sequence[str],
    location: str,
    *,
    as_json_lines: bool,
    watch: bool,
    only: Sequence[str],
) -> None:
    """Prints how trials stand; when watching, until nothing runs and nothing is owed.

    Args:
        names: Of experiments; all trials of the store if there are none.
        location: The store's folder.
        as_json_lines: Whether to print an object a line.
        watch: Whether to look again and again.
        only: States, of "failed" and "diverged", whose trials alone are listed.
    """
    store = existing_store(location)
    observer = Observer(store)
    console = Console(soft_wrap=True, highlight=False)
    if as_json_lines:
        for status in _looks(observer, names, watch):
            print(json.dumps(as_json(status)), flush=True)
    elif watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for status in _looks(observer, names, watch):
                live.update(Group(*lines(status, store, only)), refresh=True)
    else:
        for status in _looks(observer, names, watch):
            for line in lines(status, store, only):
                console.print(line)


def lines(status: Status, store: Store, only: Sequence[str] = ()) -> Iterator[Text]:
    """A line for each experiment and for each trial that is running, failed or asked for."""
    if not status.experiments:
        yield Text("nothing yet: no experiment was launched into this store")
    for name, trials in status.experiments.items():
        counts = {state: sum(s == state for s in trials.values()) for state in STATES}
        usual = ("done", "diverged", "running", "failed", "owed")
        shown = [f"{n} {state}" for state, n in counts.items() if n or state in usual]
        title = "in no experiment" if name == UNNAMED else name
        yield Text(f"{title}: {len(trials)} trials: {', '.join(shown)}", style="bold")
        if surfaces := status.surfaces.experiments.get(name):
            counts = {state: sum(s == state for s in surfaces.values()) for state in SURFACE_STATES}
            shown = [f"{n} {state}" for state, n in counts.items() if n or state != "cancelled"]
            yield Text(f"{title}: {len(surfaces)} surfaces: {', '.join(shown)}", style="bold")
    if not only:
        for one in status.running:
            yield Text(f"  {_progress(one)}", style="dim" if one.lost else "")
        for surface in status.surfaces.running:
            yield Text(f"  {_points(surface)}", style="dim" if surface.lost else "")
    if not only or "failed" in only:
        for failure in [*status.failed, *status.surfaces.failed]:
            said, name = one_line(failure["message"]), failure.get("trial_id")
            text = f"  failed {name or failure['surface_id']}: {failure['kind']}: {said}"
            yield Text(text, style=STYLES["failed"])
            yield Text(f"    log: {failure['log']}")
    for state in ("diverged", "damaged"):
        if state in only or state == "damaged":
            for trial_id in status.of(state):
                key = layout.trial if state == "damaged" else layout.log
                where = store.locate(key(trial_id))
                yield Text(f"  {state} {trial_id}: {where}", style=STYLES[state])


def _looks(observer: Observer, names: Sequence[str], watch: bool) -> Iterator[Status]:
    while True:
        status = observer.look(list(names))
        yield status
        if not watch or status.over:
            return
        time.sleep(EVERY)


def _progress(one: Running) -> str:
    epoch = f"epoch {one.epoch}" + (f" of {one.epochs}" if one.epochs else "")
    row = "no row yet" if one.row_age is None else f"last row {duration(one.row_age)} ago"
    text = f"{one.trial_id}: {epoch}, {row}, on {one_line(one.host)}"
    if not one.lost:
        return text
    silent = f" for {duration(one.beat_age)}" if one.beat_age else ""
    return f"{text}; cut off, no heartbeat{silent}: the next launch goes on from its checkpoint"


def _points(one: Measuring) -> str:
    left = f", {duration(one.left)} left" if one.left is not None and not one.lost else ""
    text = f"{one.surface_id}: {one.points} of {one.of} points{left}, on {one_line(one.host)}"
    return f"{text}; cut off: the next launch goes on from its points" if one.lost else text
