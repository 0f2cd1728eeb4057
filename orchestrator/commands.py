"""What the commands do, in order; the rooms that they call know nothing of the command line."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from orchestrator import environment, estimate
from orchestrator.experiment import Experiment
from orchestrator.plan import Plan, make_plan, member_rows
from results_schema import layout, tables
from results_schema.errors import ConfigError, MachineError
from results_schema.store import LocalStore, open_store
from workers.data.folder import ready


def show_plan(
    experiments: Sequence[Experiment], store: str, *, as_json: bool, spec: str | None
) -> None:
    """Prints the plan, or the JSON of one of its trials; makes no store.

    Raises:
        ConfigError: No trial of the experiments begins with `spec`, or several do.
    """
    plan = make_plan(experiments, LocalStore(store) if Path(store).is_dir() else None)
    if spec is not None:
        print(_one_trial(plan, spec))
    elif as_json:
        print(json.dumps(_as_json(plan), indent=1))
    else:
        _describe(plan, Console(soft_wrap=True))


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
        The exit code: 0 all ended, 1 some trials failed, 3 the store became unfit,
        130 interrupted.

    Raises:
        MachineError: There is no GPU, and nothing says that a CPU will do.
        DataError: A data set can't be had on this machine.
    """
    console = Console(soft_wrap=True)
    store = open_store(location)
    plan = make_plan(experiments, store)
    for experiment in experiments:
        rows = tables.to_parquet(member_rows(experiment), tables.MEMBERS)
        store.put(layout.members(experiment.name), rows)
    _describe(plan, console)
    report = None
    if plan.owed:
        if address is None:  # on a cluster the nodes have data folders of their own
            for dataset in dict.fromkeys(spec.dataset for spec in plan.owed):
                ready(dataset)
        profiled = all(experiment.profile for experiment in experiments)
        device = device or _choose_device(plan, profiled, address)
        environment.prepare()
        from orchestrator.launch import Options, run

        report = run(plan, store, Options(device=device, address=address, **settings), console)
    else:
        console.print("nothing to train: every trial has ended")
    from orchestrator.summary import draw_figures, print_results
    from results_schema.results import Results

    results = Results(store)
    for experiment in experiments:
        print_results(results.trials(experiment.name), console)
    if report is None or not report.interrupted:
        draw_figures(results, experiments, console)
    left = len(make_plan(experiments, store).owed)
    if report is None or not left:
        return 0
    if report.unfit:
        console.print(f"stopped: {report.unfit}", style="red", markup=False)
    elif report.interrupted:
        console.print(f"interrupted with {left} trials left; the same command goes on")
    else:
        _tell_failures(report.reasons, store, console)
    return 3 if report.unfit else 130 if report.interrupted else 1


def _describe(plan: Plan, console: Console) -> None:
    trials, owed = len(plan.trials), len(plan.owed)
    for name, members in plan.members.items():
        distinct = {member.spec.trial_id for member in members}
        done = sum(trial_id in plan.ended for trial_id in distinct)
        console.print(f"{name}: {len(distinct)} trials, {done} ended", highlight=False)
    shared = sum(len({m.spec.trial_id for m in ms}) for ms in plan.members.values()) - trials
    if shared:
        console.print(f"shared between experiments: {shared}", highlight=False)
    if again := sum(spec.trial_id in plan.failed for spec in plan.owed):
        console.print(f"failed before, to be tried again: {again}", highlight=False)
    console.print(
        f"{trials - owed} of {trials} trials are reused, {owed} owed: {plan.epochs} epochs",
        highlight=False,
    )
    if owed:
        cores = estimate.duration(plan.owed, "cpu", _cores())
        gpu = estimate.duration(plan.owed, "cuda", 1)
        console.print(f"that takes {gpu}, or {cores} (rough)", highlight=False)


def _choose_device(plan: Plan, profiled: bool, address: str | None) -> str:
    """A GPU; a CPU only if a profile made the experiment small enough, or --device asks for it."""
    if address is None:
        import torch

        if torch.cuda.is_available():
            return "cuda"
    elif not profiled:
        return "cuda"
    if profiled:
        return "cpu"
    raise MachineError(
        "this machine has no GPU, and on its CPU this would take "
        + estimate.duration(plan.owed, "cpu", _cores()),
        fix="add --profile laptop for a small version, --device cpu to do it all the same, or "
        "--address to use a Ray cluster",
    )


def _tell_failures(reasons: dict[str, str], store: LocalStore, console: Console) -> None:
    for trial_id, reason in reasons.items():
        console.print(f"failed: {trial_id}: {reason}", style="red", markup=False, highlight=False)
        console.print(f"  log: {store.locate(layout.log(trial_id))}", markup=False, highlight=False)


def _one_trial(plan: Plan, start: str) -> str:
    found = [trial_id for trial_id in plan.trials if trial_id.startswith(start)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} trials begin with {start!r}",
            where="--spec",
            fix="nas-sweep plan --json lists their ids",
        )
    return plan.trials[found[0]].to_json()


def _as_json(plan: Plan) -> dict[str, Any]:
    return {
        "experiments": {
            name: [member.spec.trial_id for member in members]
            for name, members in plan.members.items()
        },
        "owed": [spec.trial_id for spec in plan.owed],
        "ended": sorted(trial_id for trial_id in plan.trials if trial_id in plan.ended),
        "epochs": plan.epochs,
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0))
