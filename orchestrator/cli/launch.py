"""A launch in order: plan, check, record, train and measure, print, draw."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace as copy
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console

from orchestrator.cli.run import describe_plan
from orchestrator.config.experiment import Experiment
from orchestrator.config.record import compare_stored, record
from orchestrator.execution import access, preflight
from orchestrator.execution.preflight import Options
from orchestrator.housekeeping.cancel import withdraw
from orchestrator.housekeeping.status import StatusReader, remove_damaged
from orchestrator.output.error_log import log_error
from orchestrator.output.tables import print_table
from orchestrator.output.text import counted, escape_control
from orchestrator.planning.estimate import measured_speeds
from orchestrator.planning.plan import Plan, finished_surfaces, make_plan
from results_schema import layout
from results_schema.errors import ConfigError, NasSweepError, StoreError
from results_schema.store import Store, open_store

if TYPE_CHECKING:
    from orchestrator.execution.launch import Report
    from orchestrator.figures.export import Browser
    from orchestrator.report.exhibits import Exhibit
    from results_schema.results import Results


def launch(
    experiments: Sequence[Experiment],
    location: str,
    *,
    replace: bool = False,
    only: Sequence[str] = (),
    limit: int | None = None,
    **settings: Any,
) -> int:
    """Train and measure what remains, print results and draw figures.

    Args:
        experiments: Experiments with distinct names.
        location: The store's folder or bucket.
        replace: Whether their members become those of this launch alone, without a question.
        only: Patterns of the trials to be run (`Plan.choose`).
        limit: Largest number of trials to be run.
        settings: Fields of `preflight.Options`.

    Returns:
        The exit code: 0 all ended; 1 some trials or surfaces failed, were cancelled or are left, or
        a figure, table, claim or the report could not be made; 3 the store became unfit, or was
        full when it was interrupted; 130 interrupted by Ctrl-C, 143 by SIGTERM, 129 as its terminal
        was closed.

    Raises:
        MachineError: There is no GPU and nothing allows a CPU, or the clock is wrong.
        StoreError: The store cannot be written to, or lacks space for what remains.
        DataError: A dataset is not available on this machine.
    """
    store, options = open_store(location), Options(**settings)
    confirm_drops(experiments, store, replace=replace)
    plan = make_plan(experiments, store)
    if damaged := remove_damaged(store, {*plan.trials, *plan.wanted}):
        for item in damaged:
            click.echo(f"{item} had damaged tables, which are written again")
        plan = make_plan(experiments, store)
    plan = copy(plan, measure=options.landscape != "none").choose(only, limit)
    most = max((spec.epochs for spec in plan.trials.values()), default=0)
    if beyond := [str(epoch) for epoch in options.checkpoint_at if epoch > most]:
        what = f"--checkpoint-at {', '.join(beyond)} keeps nothing"
        click.secho(f"{what}: trials train {most} epochs at most", fg="yellow")
    return _work(experiments, store, plan, options, replace=replace)


def confirm_drops(
    experiments: Sequence[Experiment], store: Store, *, replace: bool, ask: bool = True
) -> None:
    """Ask for confirmation where experiments of a store would lose members.

    Raises:
        ConfigError: There is no terminal to ask at, and nothing allows it.
        Abort: The answer was no.
    """
    if replace:
        return
    found = {one.name: compare_stored(one, store) for one in experiments}
    for name, stored in found.items():
        if trials := {row["trial_id"] for row in stored.kept}:
            of = f"{counted(len(trials), 'trial')} of another {', '.join(stored.settings)}"
            click.echo(f"{name} keeps {of}")
    lost = {name: len(stored.dropped) for name, stored in found.items() if stored.dropped}
    if not lost:
        return
    counts = ", ".join(f"{name} loses {counted(lost[name], 'trial')}" for name in lost)
    if not (ask and sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(
            f"{counts} that it has in the store",
            where=store.location,
            fix="add --name NAME to keep both side by side, or --replace",
        )
    click.echo(f"{counts} that it has in the store; their results stay, and --name keeps both")
    click.confirm("Drop them?", abort=True)


def measure(
    experiments: Sequence[Experiment],
    location: str,
    *,
    replace: bool = False,
    only: Sequence[str] = (),
    limit: int | None = None,
    **settings: Any,
) -> int:
    """Measure the surfaces of trials that have ended, and draw figures, as `launch` does.

    Raises:
        ConfigError: The experiments want no surfaces, or have none of the trials.
    """
    store = open_store(location)
    confirm_drops(experiments, store, replace=replace)
    plan = copy(make_plan(experiments, store), measure_only=True).choose(only, limit)
    if not plan.wanted:
        raise ConfigError(
            f"{', '.join(plan.members)} wants no surfaces",
            fix="add landscape: {contour: {}} to the experiment",
        )
    if not plan.work and not plan.measured:
        click.echo(f"{_count_untrained(plan)} not ended: nas-sweep launch trains them")
        return 1
    return _work(experiments, store, plan, Options(**settings), replace=replace)


def _work(
    experiments: Sequence[Experiment], store: Store, plan: Plan, options: Options, *, replace: bool
) -> int:
    _check_address(options.address, ship_code=options.ship_code)
    for line in describe_plan(plan, measured_speeds(store), store):
        click.echo(line)
    small = all(experiment.cpu for experiment in experiments)
    if plan.work:
        options = preflight.prepare(plan, store, copy(options, cpu_suffices=small))
    for experiment in experiments:
        record(experiment, store, replace=replace)
    if not plan.work:
        _print_nothing_remains(plan)
        with ExitStack() as stack:
            shown = _show_results(experiments, store, partial(_open_browser, stack))
        return 0 if shown else 1
    trials = [*plan.remaining, *(surface.trial for surface in plan.unmeasured)]
    # A launch overrules earlier requests to cancel what it is about to do.
    withdraw(store, [s.trial_id for s in trials] + [one.surface_id for one in plan.unmeasured])
    access.apply_ray_settings()
    access.admit(options.address, allow_open=options.allow_open_cluster)
    where = {"cpu": ", to run on the CPU", "cuda": ", to run on GPUs"}.get(options.device or "", "")
    click.echo(f"{'joining the cluster' if options.address else 'starting Ray'}{where} …")
    from orchestrator.execution.launch import run

    with ExitStack() as stack:
        browser = cache(partial(_open_browser, stack))

        def start_browser() -> None:
            # Pictures wait for its start, which takes as long as Ray's end. `_publish` reports what
            # fails.
            if any(experiment.figures for experiment in experiments):
                with suppress(Exception):
                    browser().start()

        console = Console(soft_wrap=True, emoji=False)
        report = run(plan, store, options, console, at_end=start_browser)
        if report.unfit:
            _print_failure(f"stopped: {report.unfit}")
            return StoreError.exit_code
        shown = _show_results(experiments, store, None if report.interrupted else browser)
        return _print_remains(plan, store, report) or (0 if shown else 1)


def _open_browser(stack: ExitStack) -> Browser:
    """Return a browser that ends with the stack; it starts with its first picture."""
    from orchestrator.figures.export import Browser

    return stack.enter_context(Browser())


def _check_address(address: str | None, *, ship_code: bool) -> None:
    """Check the address of the cluster before anything else is done.

    Raises:
        ConfigError: It is a dashboard's, which takes only jobs; or code would be sent nowhere.
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


def _print_nothing_remains(plan: Plan) -> None:
    if not plan.measure_only:
        ended = "every trial has ended" if plan.trials else "no trial is named"
        ended += " or is pruned" if plan.pruned else ""
        click.echo(f"nothing to train: {ended}")
    if untrained := _count_untrained(plan):
        click.echo(f"{untrained} not ended: nas-sweep launch trains them")
    elif plan.wanted:
        click.echo("nothing to measure: every surface is finished")


def _count_untrained(plan: Plan) -> str:
    """Return how many trials whose surfaces are wanted have not ended, `2 trials have`, or ""."""
    untrained = {s.trial.trial_id for s in plan.wanted.values()} - set(plan.ended)
    have = "has" if len(untrained) == 1 else "have"
    return f"{counted(len(untrained), 'trial')} {have}" if untrained else ""


def _print_remains(plan: Plan, store: Store, report: Report) -> int:
    """Print what remains and why; return the exit code."""
    pruned = {name for name, ending in report.endings.items() if ending == "pruned"}
    trials = {spec.trial_id for spec in plan.remaining} - layout.names(store.list(layout.TRIALS))
    trials -= pruned
    surfaces = {one.surface_id for one in plan.unmeasured}
    surfaces -= finished_surfaces(store, surfaces) | pruned
    left = [
        counted(len(some), noun)
        for some, noun in ((trials, "trial"), (surfaces, "surface"))
        if some
    ]
    if not left:
        return 0
    if report.interrupted:
        click.echo(f"interrupted with {' and '.join(left)} left; the same command resumes")
        return 128 + report.interrupted
    if report.over:
        click.echo(f"{report.over}, with {' and '.join(left)} left; the same command resumes")
    for name, reason in report.reasons.items():
        _print_failure(f"failed: {name}: {reason}")
        click.echo(f"  log: {store.locate(layout.log(name))}")
    if report.undecided:
        shown = ", ".join(report.missing[:3]) + ", …" * (len(report.missing) > 3)
        waiting = f"{counted(len(report.undecided), 'trial')} waiting for a decision"
        click.echo(f"{waiting} that needs {shown}; the same command resumes")
    endings = list(report.endings.values())
    if untrained := endings.count("untrained"):
        click.echo(f"{counted(untrained, 'surface')} not measured: their trials did not end")
    if cancelled := endings.count("cancelled"):
        click.echo(f"cancelled: {cancelled}; the same command resumes them")
    return 1


def _show_results(
    experiments: Sequence[Experiment], store: Store, browser: Callable[[], Browser] | None
) -> bool:
    """Print the results and write the report; return whether everything could be made.

    Without a browser neither figures are drawn nor is the report written.
    """
    from orchestrator.report.brief import accuracy_tables, metric_tables
    from results_schema.program import added_metrics
    from results_schema.results import Snapshot

    added = added_metrics(store)
    results, names = Snapshot(store), [experiment.name for experiment in experiments]
    status = StatusReader(store).read(names)
    failures, complete = list[str](), True
    for name in names:
        try:
            trials = results.trials(name)
            states = status.trials.experiments[name]
            for table in accuracy_tables(trials, states) + metric_tables(trials, added, states):
                print_table(table)
        except NasSweepError:
            raise
        except Exception as error:
            failures.append(f"results of {name}: {log_error(store, f'results-{name}', error)}")
    if browser:
        click.echo("drawing figures, testing claims and writing the report …")
        from orchestrator.report.write import write_report

        # What was trained is reported even if the report cannot be made.
        try:
            exhibits = _publish(results, names, browser())
            complete &= all(one.figure is not None or one.table for one in exhibits)
            written = write_report(results, names, status, exhibits)
            failures += written.failures
            click.echo(f"report: {written.place}")
        except NasSweepError as error:
            failures.append(f"report: {error}")
        except Exception as error:
            failures.append(f"report: {log_error(store, 'report', error)}")
    for failure in failures:
        _print_failure(f"failed: {failure}")
    return complete and not failures


def _print_failure(text: str) -> None:
    click.secho(escape_control(text), fg="red")  # it may quote what another machine sent


def _publish(results: Results, experiments: Sequence[str], browser: Browser) -> list[Exhibit]:
    """Write figures and tables into the store, and print where they are and what is missing."""
    from orchestrator.report.exhibits import expected_problems, publish

    exhibits: list[Exhibit] = []
    for exhibit, places in publish(results, experiments, browser):
        exhibits.append(exhibit)
        if places:
            click.echo(f"{exhibit.name}: {', '.join(places)}")
    for problem in expected_problems(exhibits):
        click.secho(problem, fg="yellow")
    return exhibits
