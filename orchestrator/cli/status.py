"""The commands that show how a store stands: `status` and `logs`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import (
    exit_on_ctrl_c,
    format_option,
    names_argument,
    open_store,
    store_option,
)
from orchestrator.output.text import duration, escape_control, one_line

if TYPE_CHECKING:
    from orchestrator.housekeeping.status import RunningSurface, RunningTrial, State, Status
    from results_schema.store import Store

POLL_SECONDS = 2.0
"""Seconds between two reads of the store when watching."""

_STYLES = {"failed": "red", "diverged": "yellow", "damaged": "red"}


@click.command()
@store_option
@names_argument
@format_option("json")
@click.option("--watch", is_flag=True, help="Repeat every two seconds until all has ended.")
@click.option("--failed", is_flag=True, help="List failed trials only.")
@click.option("--diverged", is_flag=True, help="List diverged trials.")
def status(
    experiments: tuple[str, ...],
    store: str,
    output_format: str,
    watch: bool,
    failed: bool,
    diverged: bool,
) -> None:
    """Show what is done, running, failed and remaining in a store.

    JSON is one object a line.
    """
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    opened, only = open_store(store), ["failed"] * failed + ["diverged"] * diverged
    console = Console(soft_wrap=True, highlight=False)
    with exit_on_ctrl_c():
        if output_format == "json":
            for one in _read(opened, experiments, watch):
                print(json.dumps(one.as_json()), flush=True)
        elif watch and console.is_terminal:
            with Live(console=console, auto_refresh=False) as live:
                for one in _read(opened, experiments, watch):
                    texts = [Text(text, style) for text, style in _describe(one, opened, only)]
                    live.update(Group(*texts), refresh=True)
        else:
            for one in _read(opened, experiments, watch):
                for text, style in _describe(one, opened, only):
                    console.print(Text(text, style))


def _read(store: Store, names: Sequence[str], watch: bool) -> Iterator[Status]:
    """Yield the status once or, when watching, until nothing runs or remains."""
    from orchestrator.housekeeping.status import StatusReader

    reader = StatusReader(store)
    while True:
        status = reader.read(names)
        yield status
        if not watch or status.over:
            return
        time.sleep(POLL_SECONDS)


def _describe(status: Status, store: Store, only: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield lines, each with its style: experiments, then trials running, failed or asked for."""
    from orchestrator.housekeeping.status import STATES, SURFACE_STATES, experiment_title
    from results_schema import layout

    if not status.trials.experiments:
        yield "nothing yet: no experiment was launched into this store", ""
    for name, trials in status.trials.experiments.items():
        title = experiment_title(name)
        counts = status.trials.counts(name, STATES)
        usual = ("done", "diverged", "running", "failed", "owed")
        shown = [f"{n} {state}" for state, n in counts.items() if n or state in usual]
        yield f"{title}: {len(trials)} trials: {', '.join(shown)}", "bold"
        if surfaces := status.surfaces.experiments.get(name):
            counts = status.surfaces.counts(name, SURFACE_STATES)
            shown = [f"{n} {state}" for state, n in counts.items() if n or state != "cancelled"]
            yield f"{title}: {len(surfaces)} surfaces: {', '.join(shown)}", "bold"
    if not only:
        for trial in status.trials.running:
            yield f"  {_trial_progress(trial)}", "dim" if trial.lost else ""
        for surface in status.surfaces.running:
            yield f"  {_surface_progress(surface)}", "dim" if surface.lost else ""
    if not only or "failed" in only:
        for failure in [*status.trials.failed, *status.surfaces.failed]:
            item = failure.get("trial_id") or failure["surface_id"]
            message = one_line(failure["message"])
            yield f"  failed {item}: {failure['kind']}: {message}", _STYLES["failed"]
            yield f"    log: {failure['log']}", ""
    listed: list[tuple[State, Callable[[str], str]]]
    listed = [("diverged", layout.log), ("damaged", layout.trial)]
    for state, key in listed:
        if state in only or state == "damaged":
            for trial_id in status.trials.having(state):
                yield f"  {state} {trial_id}: {store.locate(key(trial_id))}", _STYLES[state]


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


@click.command()
@store_option
@click.argument("name", metavar="TRIAL|SURFACE")
@click.option("-f", "--follow", is_flag=True, help="Print new lines until the trial ends.")
def logs(name: str, store: str, follow: bool) -> None:
    """Print the log of the trial or surface whose id begins so.

    The id of a surface has an @.
    """
    from orchestrator.housekeeping.logs import find_log, read_log

    opened = open_store(store)
    with exit_on_ctrl_c():
        item = find_log(opened, name, follow=follow)
        for text in read_log(opened, item, follow=follow):
            click.echo(escape_control(text), nl=False)


COMMANDS = (status, logs)
