"""The commands that show how a store stands: `status`, `show` and `logs`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click
from click import argument, command, option

from orchestrator.cli.options import (
    complete_trials,
    exit_on_ctrl_c,
    format_option,
    names_argument,
    open_store,
    store_option,
)
from orchestrator.output.tables import TextTable, print_table
from orchestrator.output.text import NO_NUMBER, duration, escape_control, one_line

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.housekeeping.status import RunningSurface, RunningTrial, State, Status
    from results_schema.store import Store

POLL_SECONDS = 2.0
"""Seconds between two reads of the store when watching."""


@command()
@store_option
@names_argument
@format_option("json")
@option("--watch", is_flag=True, help="Repeat every two seconds until all has ended or none runs.")
@option("--trials", "listed", is_flag=True, help="List every trial: name, state, id.")
@option("--failed", is_flag=True, help="List failed trials only.")
@option("--diverged", is_flag=True, help="List diverged trials.")
def status(
    experiments: tuple[str, ...],
    store: str,
    output_format: str,
    watch: bool,
    listed: bool,
    failed: bool,
    diverged: bool,
) -> None:
    """Show what is done, running, failed and remaining in a store.

    JSON is one object a line.
    """
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    opened, only = open_store(store), ["failed"] * failed + ["diverged"] * diverged
    console = Console(soft_wrap=True, emoji=False, highlight=False)
    with exit_on_ctrl_c():
        live = Live(console=console, auto_refresh=False)
        in_place = watch and output_format == "text" and console.is_terminal
        with live if in_place else contextlib.nullcontext():
            for one in _read(opened, experiments, watch):
                if output_format == "json":
                    more = {"trials": _name_trials(one, opened)} if listed else {}
                    print(json.dumps(one.as_json() | more), flush=True)
                elif in_place:
                    with console.capture() as shown:
                        _print(one, opened, only, console, listed=listed)
                    live.update(Text.from_ansi(shown.get()), refresh=True)
                else:
                    _print(one, opened, only, console, listed=listed)


def _read(store: Store, names: Sequence[str], watch: bool) -> Iterator[Status]:
    """Yield the status once or, when watching, until nothing remains or nothing works on it."""
    from orchestrator.housekeeping.status import StatusReader

    reader = StatusReader(store)
    while True:
        status = reader.read(names)
        yield status
        if not watch or status.over or status.idle:
            return
        time.sleep(POLL_SECONDS)


def _print(
    status: Status, store: Store, only: Sequence[str], console: Console, *, listed: bool
) -> None:
    if not status.trials.experiments:
        console.print("nothing yet: no experiment was launched into this store")
        return
    print_table(_counts_table(status), console)
    if listed:
        rows = [(one["name"], one["state"], one["trial_id"]) for one in _name_trials(status, store)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            line = "  ".join(f"{text:{width}}" for text, width in zip(row, widths, strict=True))
            console.print(f"  {line.rstrip()}", markup=False)
    for text, style in _describe(status, store, only):
        console.print(text, style=style, markup=False)


def _counts_table(status: Status) -> TextTable:
    """Return a line for the trials of each experiment, and one for its surfaces."""
    from orchestrator.housekeeping.status import STATE_NAMES, STATES, experiment_title

    counted = [
        (name, kind, items)
        for name in status.trials.experiments
        for kind, items in (("trials", status.trials), ("surfaces", status.surfaces))
        if items.experiments.get(name)
    ]
    counts = [items.counts(name, STATES) for name, _, items in counted]
    always: tuple[State, ...] = ("done", "running", "failed", "owed")
    shown: list[State] = [s for s in STATES if s in always or any(one[s] for one in counts)]
    rows = []
    for (name, kind, items), each in zip(counted, counts, strict=True):
        left = status.left(items, name)
        numbers = [str(each[state] or NO_NUMBER) for state in shown]
        takes = duration(left) if left is not None else NO_NUMBER
        rows.append((experiment_title(name), kind, str(sum(each.values())), *numbers, takes))
    cells = [name for name, trials in status.trials.experiments.items() if not trials]
    columns = ("experiment", "of", "all", *(STATE_NAMES[state] for state in shown), "left")
    remarks = (f"Cells alone, without trials: {', '.join(cells)}.",) if cells else ()
    return TextTable("", columns, rows, left=(1,), remarks=remarks)


def _name_trials(status: Status, store: Store) -> list[dict[str, str]]:
    """Return `name`, `state` and `trial_id` of each member, and of each trial of no experiment."""
    from orchestrator.housekeeping.lookup import member_names
    from orchestrator.housekeeping.status import UNNAMED

    named = [
        pair
        for name in status.trials.experiments
        if name != UNNAMED
        for pair in member_names(store, name)
    ]
    named += [(trial_id, trial_id) for trial_id in status.trials.experiments.get(UNNAMED, ())]
    return [
        {"name": name, "state": status.describe(trial_id), "trial_id": trial_id}
        for name, trial_id in named
    ]


def _describe(status: Status, store: Store, only: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield lines, each with its style: items running, interrupted, failed or asked for."""
    from results_schema import layout

    if not only:
        lines = [(_trial_progress(trial), trial.lost) for trial in status.trials.running]
        lines += [(_surface_progress(one), one.lost) for one in status.surfaces.running]
        yield from ((f"  {line}", "dim" if lost else "") for line, lost in lines)
        held = {one.trial_id for one in status.trials.running}
        held |= {one.surface_id for one in status.surfaces.running}
        for item in sorted(status.progress.keys() - held):
            if status.states.get(item) in ("owed", "cancelled"):
                yield f"  {item}: {status.describe(item)}", ""
    if not only or "failed" in only:
        for failure in [*status.trials.failed, *status.surfaces.failed]:
            item = failure.get("trial_id") or failure["surface_id"]
            message = one_line(failure["message"])
            yield f"  {status.describe(item)}: {item}: {failure['kind']}: {message}", "red"
            yield f"    log: {failure['log']}", ""
    if "diverged" in only:
        for trial_id in status.trials.having("diverged"):
            yield f"  diverged: {trial_id}: {store.locate(layout.log(trial_id))}", "yellow"
    for item in [*status.trials.having("damaged"), *status.surfaces.having("damaged")]:
        yield f"  damaged tables: {item}: the next launch of its experiment rebuilds them", "red"


def _trial_progress(one: RunningTrial) -> str:
    epoch = f"epoch {one.epoch}" + (f" of {one.epochs}" if one.epochs else "")
    row = "no row yet" if one.row_age is None else f"last row {duration(one.row_age)} ago"
    left = f", {duration(one.left)} left" if one.left is not None and not one.lost else ""
    text = f"{one.trial_id}: {epoch}, {row}{left}, on {one_line(one.host)}"
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
@argument("name", metavar="TRIAL", shell_complete=complete_trials)
@format_option("json")
def show(name: str, store: str, output_format: str) -> None:
    """Show one trial: its spec, curve, checkpoints, provenance.

    A trial is named by its place, such as fig9/DARTS/C3, or by the beginning of its id.
    """
    from orchestrator.housekeeping.show import describe_trial

    found = describe_trial(open_store(store), name)
    if output_format == "json":
        print(json.dumps(found, indent=1, default=str))
        return
    for part, value in found.items():
        if isinstance(value, dict):
            if not value:
                continue
            click.echo(f"{part}:")
            for key, one in value.items():
                click.echo(escape_control(f"  {key}: {_flat(one)}"))
        else:
            click.echo(escape_control(f"{part}: {_flat(value)}"))


def _flat(value: object) -> str:
    if isinstance(value, list):
        nested = any(isinstance(one, list) for one in value)
        return json.dumps(value) if nested else ", ".join(map(str, value)) or NO_NUMBER
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(one)}" for key, one in value.items())
    return NO_NUMBER if value is None else str(value)


@command()
@store_option
@argument("name", metavar="TRIAL|SURFACE", shell_complete=complete_trials)
@option("-f", "--follow", is_flag=True, help="Print new lines until the trial ends.")
def logs(name: str, store: str, follow: bool) -> None:
    """Print the log of a trial or surface.

    A trial is named by its place, such as fig9/DARTS/C3, or by the beginning of its id; a surface
    by that of its id, which has an @.
    """
    from orchestrator.housekeeping.logs import find_log, read_log

    opened = open_store(store)
    with exit_on_ctrl_c():
        item = find_log(opened, name, follow=follow)
        for text in read_log(opened, item, follow=follow):
            click.echo(escape_control(text), nl=False)


COMMANDS = (status, show, logs)
