"""The main job in order: plan, check, train and measure, print, draw."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from orchestrator.cli.plan import describe_plan
from orchestrator.config.experiment import Experiment
from orchestrator.config.record import record
from orchestrator.execution import access, preflight
from orchestrator.execution.preflight import Options
from orchestrator.housekeeping.cancel import withdraw
from orchestrator.output.error_log import log_error
from orchestrator.planning.estimate import measured_speeds
from orchestrator.planning.plan import Plan, finished_surfaces, make_plan
from results_schema import layout
from results_schema.errors import ConfigError, NasSweepError
from results_schema.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

    from orchestrator.execution.launch import Report
    from orchestrator.report.exhibits import Exhibit
    from results_schema.results import Results


def launch(
    experiments: Sequence[Experiment],
    location: str,
    *,
    device: str | None,
    address: str | None,
    landscape: str = "first",
    **settings: Any,
) -> int:
    """Train and measure what remains, print results and draw figures.

    Args:
        experiments: With distinct names.
        location: The store's folder.
        device: See `preflight.Options`.
        address: See `preflight.Options`.
        landscape: When surfaces are measured: "first", "last", or "none" for not at all.
        settings: The rest of `preflight.Options`.

    Returns:
        The exit code: 0 all ended, 1 some trials or surfaces failed or were cancelled, or a figure,
        table or claim ended in an unexpected error, 3 the store became unfit, or was full when it
        was interrupted, 130 interrupted.

    Raises:
        MachineError: There is no GPU, and nothing says that a CPU will do; or the clock is wrong.
        StoreError: The store can't be written, or lacks room for what remains.
        DataError: A data set can't be had on this machine.
    """
    store = open_store(location)
    plan = make_plan(experiments, store)
    plan = replace(plan, measure=landscape != "none")
    options = Options(device=device, address=address, landscape=landscape, **settings)
    return _work(experiments, store, plan, options)


def measure(
    experiments: Sequence[Experiment], location: str, trials: Sequence[str], **settings: Any
) -> int:
    """Measures the surfaces of trials that have ended, and draws figures.

    Args:
        experiments: With distinct names.
        location: The store's folder.
        trials: Beginnings of the ids of trials; all if there are none.
        settings: See `preflight.Options`.

    Returns:
        The exit code, as of `launch`.

    Raises:
        ConfigError: The experiments name no surfaces, or none of the named trials.
        MachineError: As of `launch`.
        DataError: As of `launch`.
    """
    store = open_store(location)
    plan = replace(make_plan(experiments, store), measure_only=True, prefixes=tuple(trials))
    if not plan.wanted:
        raise ConfigError(
            f"{', '.join(plan.members)} wants no surfaces",
            fix="add landscape: {contour: {}} to the experiment",
        )
    for start in trials:
        if not any(name.startswith(start) for name in plan.wanted):
            raise ConfigError(
                f"no trial of {', '.join(plan.members)} begins with {start!r}",
                where="--trials",
                fix="nas-sweep plan --format json lists their ids",
            )
    return _work(experiments, store, plan, Options(**settings))


def _work(experiments: Sequence[Experiment], store: Store, plan: Plan, options: Options) -> int:
    _check_address(options.address, ship_code=options.ship_code)
    console = Console(soft_wrap=True)
    for line in describe_plan(plan, measured_speeds(store)):
        click.echo(line)
    small = all(experiment.cpu for experiment in experiments)
    if plan.work:
        options = preflight.prepare(plan, store, replace(options, cpu_suffices=small))
    for experiment in experiments:
        record(experiment, store)
    if not plan.work:
        _say_nothing_left(plan, console)
        return 0 if _show(experiments, store, console, figures=True) else 1
    trials = [*plan.remaining, *(surface.trial for surface in plan.unmeasured)]
    names = [spec.trial_id for spec in trials] + [one.surface_id for one in plan.unmeasured]
    withdraw(store, names)
    access.apply_ray_settings()
    access.admit(options.address, allow_open=options.allow_open_cluster)
    from orchestrator.execution.launch import run

    report = run(plan, store, options, console)
    if report.unfit:
        console.print(f"stopped: {report.unfit}", style="red", markup=False)
        return 3
    shown = _show(experiments, store, console, figures=not report.interrupted)
    return _sum_up(plan, store, report, console) or (0 if shown else 1)


def _check_address(address: str | None, *, ship_code: bool) -> None:
    """Check that a launch can use it.

    Raises:
        ConfigError: It is a dashboard's, which takes jobs alone; or code would be sent nowhere.
    """
    if address and access.is_dashboard(address):
        raise ConfigError(
            "this is the URL of a dashboard, which takes jobs alone",
            where=f"--address {address}",
            fix="add --detach, or give HOST:PORT of the cluster's head (port 6379 by default)",
        )
    if ship_code and address is None:
        raise ConfigError(
            "--ship-code sends this code to a cluster's nodes, and no cluster is named",
            fix="add --address, or drop it: on this machine this code runs anyway",
        )


def _say_nothing_left(plan: Plan, console: Console) -> None:
    if not plan.measure_only:
        ended = "every trial has ended" if plan.trials else "no trial is named"
        console.print(f"nothing to train: {ended}")
    if untrained := len({s.trial.trial_id for s in plan.wanted.values()} - set(plan.ended)):
        console.print(f"{untrained} trials have not ended: nas-sweep launch trains them")
    elif plan.wanted:
        console.print("nothing to measure: every surface is finished")


def _sum_up(plan: Plan, store: Store, report: Report, console: Console) -> int:
    """Says what is left and why; returns the exit code."""
    trials = {spec.trial_id for spec in plan.remaining} - layout.names(store.list(layout.TRIALS))
    surfaces = {one.surface_id for one in plan.unmeasured}
    surfaces -= finished_surfaces(store, surfaces)
    left = [f"{len(trials)} trials"] * bool(trials) + [f"{len(surfaces)} surfaces"] * bool(surfaces)
    if not left:
        return 0
    if report.interrupted:
        console.print(f"interrupted with {' and '.join(left)} left; the same command resumes")
        return 130
    for name, reason in report.reasons.items():
        console.print(f"failed: {name}: {reason}", style="red", markup=False, highlight=False)
        console.print(f"  log: {store.locate(layout.log(name))}", markup=False, highlight=False)
    endings = list(report.endings.values())
    if untrained := endings.count("untrained"):
        console.print(f"{untrained} surfaces wait for trials that did not end")
    if cancelled := endings.count("cancelled"):
        console.print(f"{cancelled} trials or surfaces were cancelled; the same command resumes")
    return 1


def _show(
    experiments: Sequence[Experiment], store: Store, console: Console, *, figures: bool
) -> bool:
    """Print the results and write the report; return False if an unexpected error came of it."""
    from orchestrator.report.write import write_report
    from results_schema.results import Results

    results, names = Results(store), [experiment.name for experiment in experiments]
    failures: list[str] = []
    for name in names:
        try:
            _print_accuracies(results.trials(name), console)
        except NasSweepError:
            raise
        except Exception as error:
            failures.append(f"results of {name}: {log_error(store, f'results-{name}', error)}")
    if figures:
        # Without a report the launch still says what was trained.
        try:
            written = write_report(store, names, _publish(results, names, console))
            failures += written.failures
            console.print(f"report: {written.place}", markup=False, highlight=False)
        except NasSweepError as error:
            console.print(f"no report: {error}", style="red", markup=False, highlight=False)
        except Exception as error:
            failures.append(f"report: {log_error(store, 'report', error)}")
    for failure in failures:
        console.print(f"failed: {failure}", style="red", markup=False, highlight=False)
    return not failures


def _print_accuracies(trials: pd.DataFrame, console: Console) -> None:
    from orchestrator.report.exhibits import accuracy_tables

    for table in accuracy_tables(trials):
        shown = Table(*table.columns, title=table.title, title_justify="left")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        for remark in table.remarks:
            console.print(remark, markup=False, highlight=False)


def _publish(results: Results, experiments: Sequence[str], console: Console) -> list[Exhibit]:
    """Write figures and tables into the store, and print where they are and what is missing."""
    from orchestrator.report.exhibits import expected_problems, publish

    exhibits: list[Exhibit] = []
    for exhibit, places in publish(results, experiments):
        exhibits.append(exhibit)
        if places:
            text = f"{exhibit.name}: {', '.join(places)}"
            console.print(text, highlight=False, markup=False)
    for problem in expected_problems(exhibits):
        console.print(problem, style="yellow", highlight=False, markup=False)
    return exhibits
