"""Print the states of a store's trials and surfaces: once, as JSON, or again and again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from orchestrator.housekeeping.status import (
    STATES,
    SURFACE_STATES,
    UNNAMED,
    RunningSurface,
    RunningTrial,
    Status,
    StatusReader,
)
from orchestrator.output.text import duration, one_line
from results_schema import layout
from results_schema.store import Store, existing_store

POLL_SECONDS = 2.0
"""Seconds between two reads of the store when watching."""
STYLES = {"failed": "red", "diverged": "yellow", "damaged": "red"}


def show_status(
    names: Sequence[str],
    location: str,
    *,
    as_json_lines: bool,
    watch: bool,
    only: Sequence[str],
) -> None:
    """Print the states of trials and surfaces; when watching, until nothing runs or remains.

    Args:
        names: Names of experiments; all trials of the store if there are none.
        location: The store's folder.
        as_json_lines: Whether to print JSON, an object a line.
        watch: Whether to read the store again and again.
        only: States, of "failed" and "diverged", whose trials alone are listed.
    """
    store = existing_store(location)
    console = Console(soft_wrap=True, highlight=False)
    read = _read_repeatedly(StatusReader(store), names, watch)
    if as_json_lines:
        for status in read:
            print(json.dumps(status.as_json()), flush=True)
    elif watch and console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for status in read:
                live.update(Group(*lines(status, store, only)), refresh=True)
    else:
        for status in read:
            for line in lines(status, store, only):
                console.print(line)


def lines(status: Status, store: Store, only: Sequence[str] = ()) -> Iterator[Text]:
    """Yield a line for each experiment and each trial that is running, failed or asked for."""
    if not status.trials.experiments:
        yield Text("nothing yet: no experiment was launched into this store")
    for name, trials in status.trials.experiments.items():
        title = "in no experiment" if name == UNNAMED else name
        counts = status.trials.counts(name, STATES)
        usual = ("done", "diverged", "running", "failed", "owed")
        shown = [f"{n} {state}" for state, n in counts.items() if n or state in usual]
        yield Text(f"{title}: {len(trials)} trials: {', '.join(shown)}", style="bold")
        if surfaces := status.surfaces.experiments.get(name):
            counts = status.surfaces.counts(name, SURFACE_STATES)
            shown = [f"{n} {state}" for state, n in counts.items() if n or state != "cancelled"]
            yield Text(f"{title}: {len(surfaces)} surfaces: {', '.join(shown)}", style="bold")
    if not only:
        for trial in status.trials.running:
            yield Text(f"  {_trial_progress(trial)}", style="dim" if trial.lost else "")
        for surface in status.surfaces.running:
            yield Text(f"  {_surface_progress(surface)}", style="dim" if surface.lost else "")
    if not only or "failed" in only:
        for failure in [*status.trials.failed, *status.surfaces.failed]:
            item = failure.get("trial_id") or failure["surface_id"]
            text = f"  failed {item}: {failure['kind']}: {one_line(failure['message'])}"
            yield Text(text, style=STYLES["failed"])
            yield Text(f"    log: {failure['log']}")
    for state, key in (("diverged", layout.log), ("damaged", layout.trial)):
        if state in only or state == "damaged":
            for trial_id in status.trials.having(state):
                text = f"  {state} {trial_id}: {store.locate(key(trial_id))}"
                yield Text(text, style=STYLES[state])


def _read_repeatedly(reader: StatusReader, names: Sequence[str], watch: bool) -> Iterator[Status]:
    while True:
        status = reader.read(names)
        yield status
        if not watch or status.over:
            return
        time.sleep(POLL_SECONDS)


def _trial_progress(one: RunningTrial) -> str:
    epoch = f"epoch {one.epoch}" + (f" of {one.epochs}" if one.epochs else "")
    row = "no row yet" if one.row_age is None else f"last row {duration(one.row_age)} ago"
    text = f"{one.trial_id}: {epoch}, {row}, on {one_line(one.host)}"
    if not one.lost:
        return text
    silent = f" for {duration(one.beat_age)}" if one.beat_age else ""
    return f"{text}; cut off, no heartbeat{silent}: the next launch resumes from its checkpoint"


def _surface_progress(one: RunningSurface) -> str:
    left = f", {duration(one.left)} left" if one.left is not None and not one.lost else ""
    text = f"{one.surface_id}: {one.points} of {one.of} points{left}, on {one_line(one.host)}"
    return f"{text}; cut off: the next launch resumes from its points" if one.lost else text
