"""The main job in order: plan, check, train, print, draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from orchestrator import environment, plan_view
from orchestrator.cancel import forget
from orchestrator.device import choose_device, local_gpu
from orchestrator.experiment import Experiment
from orchestrator.plan import make_plan, member_rows
from results_schema import layout, tables
from results_schema.store import LocalStore, open_store
from workers.data.folder import ready


def launch(
    experiments: Sequence[Experiment],
    location: str,
    *,
    device: str | None,
    address: str | None,
    **settings: Any,
) -> int:
    """Trains what is owed, prints results and draws figures.

    Returns:
        The exit code: 0 all ended, 1 some trials failed or were cancelled, 3 the store became
        unfit, or was full when it was interrupted, 130 interrupted.

    Raises:
        MachineError: There is no GPU, and nothing says that a CPU will do.
        DataError: A data set can't be had on this machine.
    """
    console = Console(soft_wrap=True)
    store = open_store(location)
    plan = make_plan(experiments, store)
    plan_view.describe(plan, console)
    profiled = all(experiment.profile for experiment in experiments)
    if plan.owed and address is None:
        device = device or choose_device(plan, local_gpu(), profiled)
        # On a cluster the nodes have data folders of their own.
        for dataset in dict.fromkeys(spec.dataset for spec in plan.owed):
            ready(dataset)
    for experiment in experiments:
        rows = tables.to_parquet(member_rows(experiment), tables.MEMBERS)
        store.put(layout.members(experiment.name), rows)
    if not plan.owed:
        console.print("nothing to train: every trial has ended")
        _show(experiments, store, console, figures=True)
        return 0
    forget(store, [spec.trial_id for spec in plan.owed])
    environment.prepare()
    from orchestrator.launch import Options, run

    options = Options(device=device, address=address, cpu_will_do=profiled, **settings)
    report = run(plan, store, options, console)
    if report.unfit:
        console.print(f"stopped: {report.unfit}", style="red", markup=False)
        return 3
    _show(experiments, store, console, figures=not report.interrupted)
    left = plan.trials.keys() - layout.names(store.list(layout.TRIALS))
    if not left:
        return 0
    if report.interrupted:
        console.print(f"interrupted with {len(left)} trials left; the same command goes on")
        return 130
    for trial_id, reason in report.reasons.items():
        console.print(f"failed: {trial_id}: {reason}", style="red", markup=False, highlight=False)
        console.print(f"  log: {store.locate(layout.log(trial_id))}", markup=False, highlight=False)
    if cancelled := sum(ending == "cancelled" for ending in report.endings.values()):
        console.print(f"{cancelled} trials were cancelled; the same command goes on")
    return 1


def _show(
    experiments: Sequence[Experiment], store: LocalStore, console: Console, *, figures: bool
) -> None:
    from orchestrator.summary import draw_figures, print_results
    from results_schema.results import Results

    results = Results(store)
    for experiment in experiments:
        print_results(results.trials(experiment.name), console)
    if figures:
        draw_figures(results, experiments, console)
