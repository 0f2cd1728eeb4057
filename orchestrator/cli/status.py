"""The commands that show how a store stands: `status` and `logs`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from click import argument, command, option

from orchestrator.cli.options import (
    exit_on_ctrl_c,
    format_option,
    names_argument,
    open_store,
    store_option,
)
from orchestrator.output.text import duration, escape_control, one_line

if TYPE_CHECKING:
    from orchestrator.housekeeping.status import RunningSurface, RunningTrial, Status
    from results_schema.store import Store

POLL_SECONDS = 2.0
"""Seconds between two reads of the store when watching."""


@command()
@store_option
@names_argument
@format_option("json")
@option("--watch", is_flag=True, help="Repeat every two seconds until all has ended.")
@option("--failed", is_flag=True, help="List failed trials only.")
@option("--diverged", is_flag=True, help="List diverged trials.")
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
        live = Live(console=console, auto_refresh=False)
        in_place = watch and output_format == "text" and console.is_terminal
        with live if in_place else contextlib.nullcontext():
            for one in _read(opened, experiments, watch):
                if output_format == "json":
                    print(json.dumps(one.as_json()), flush=True)
                    continue
                texts = [Text(text, style) for text, style in _describe(one, opened, only)]
                if in_place:
                    live.update(Group(*texts), refresh=True)
                else:
                    console.print(*texts, sep="\n")


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
    for name in status.trials.experiments:
        kinds = (("trials", status.trials, STATES), ("surfaces", status.surfaces, SURFACE_STATES))
        for kind, items, states in kinds:
            if number := len(items.experiments.get(name, ())):
                counts = items.counts(name, states)
                shown = [
                    f"{count} {'to do' if state == 'owed' else state}"
                    for state, count in counts.items()
                    if count or state not in ("damaged", "cancelled")
                ]
                title = experiment_title(name)
                yield f"{title}: {number} {kind}: {', '.join(shown)}", "bold"
    if not only:
        lines = [(_trial_progress(trial), trial.lost) for trial in status.trials.running]
        lines += [(_surface_progress(one), one.lost) for one in status.surfaces.running]
        yield from ((f"  {line}", "dim" if lost else "") for line, lost in lines)
    if not only or "failed" in only:
        for failure in [*status.trials.failed, *status.surfaces.failed]:
            item = failure.get("trial_id") or failure["surface_id"]
            message = one_line(failure["message"])
            yield f"  failed {item}: {failure['kind']}: {message}", "red"
            yield f"    log: {failure['log']}", ""
    if "diverged" in only:
        for trial_id in status.trials.having("diverged"):
            yield f"  diverged {trial_id}: {store.locate(layout.log(trial_id))}", "yellow"
    for trial_id in status.trials.having("damaged"):
        yield f"  damaged {trial_id}: {store.locate(layout.trial(trial_id))}", "red"


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


@command()
@store_option
@argument("name", metavar="TRIAL|SURFACE")
@option("-f", "--follow", is_flag=True, help="Print new lines until the trial ends.")
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
