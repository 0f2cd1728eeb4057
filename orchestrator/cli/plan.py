"""A plan in words, as JSON, or one trial of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from orchestrator.config.experiment import Experiment
from orchestrator.output.text import byte_size, cores
from orchestrator.planning.estimate import Speeds, format_duration, measured_speeds
from orchestrator.planning.plan import Plan, make_plan
from results_schema.errors import ConfigError
from results_schema.store import find_store


def show_plan(
    experiments: Sequence[Experiment], store: str, *, as_json: bool, spec: str | None
) -> None:
    """Prints the plan, or the JSON of one of its trials; makes no store.

    Raises:
        ConfigError: No trial of the experiments begins with `spec`, or several do.
    """
    found = find_store(store)
    plan, speeds = make_plan(experiments, found), measured_speeds(found) if found else Speeds()
    if spec is not None:
        print(_one_trial(plan, spec))
    elif as_json:
        print(json.dumps(_as_json(plan, speeds), indent=1))
    else:
        console = Console(soft_wrap=True)
        describe(plan, console, speeds)
        if found is None:
            console.print(f"there is no store {store} yet", highlight=False, markup=False)


def describe(plan: Plan, console: Console, speeds: Speeds) -> None:
    """Prints what each experiment names, what is reused, and how much there is to do."""
    trials, owed = len(plan.trials), len(plan.remaining)
    for name, members in plan.members.items():
        distinct = {member.spec.trial_id for member in members}
        done = sum(trial_id in plan.ended for trial_id in distinct)
        console.print(f"{name}: {len(distinct)} trials, {done} ended", highlight=False)
    shared = sum(len({m.spec.trial_id for m in ms}) for ms in plan.members.values()) - trials
    if shared:
        console.print(f"shared between experiments: {shared}", highlight=False)
    if again := sum(spec.trial_id in plan.failed for spec in plan.remaining):
        console.print(f"failed before, to be tried again: {again}", highlight=False)
    console.print(
        f"{trials - owed} of {trials} trials are reused, {owed} owed: {plan.epochs} epochs",
        highlight=False,
    )
    if plan.earlier_ids:
        console.print(
            f"{plan.earlier_ids} ended trials of the store have ids of an earlier format: "
            "readable, but not reused",
            highlight=False,
        )
    if plan.wanted:
        left = len(plan.unmeasured)
        console.print(
            f"{len(plan.wanted) - left} of {len(plan.wanted)} surfaces are finished, {left} owed: "
            f"{plan.points} points",
            highlight=False,
        )
    if work := plan.work:
        for device, count in (("cuda", 1), ("cpu", cores())):
            total = speeds.total_seconds(work, device)
            takes, hours = format_duration(total, device, count), total / 3600
            unit = "GPU-hours" if device == "cuda" else "core-hours"
            shown = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
            told = f"{takes}: {shown} {unit} ({speeds.basis(work, device)})"
            console.print(("that takes " if device == "cuda" else "or ") + told, highlight=False)
        disk = plan.disk_bytes(kept=(), side_by_side=cores())
        console.print(f"and up to {byte_size(disk)} of disk", highlight=False)


def _one_trial(plan: Plan, start: str) -> str:
    found = [trial_id for trial_id in plan.trials if trial_id.startswith(start)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} trials begin with {start!r}",
            where="--spec",
            fix="nas-sweep plan --json lists their ids",
        )
    return plan.trials[found[0]].to_json()


def _as_json(plan: Plan, speeds: Speeds) -> dict[str, Any]:
    work = plan.work
    return {
        "experiments": {
            name: [member.spec.trial_id for member in members]
            for name, members in plan.members.items()
        },
        "owed": [spec.trial_id for spec in plan.remaining],
        "ended": sorted(trial_id for trial_id in plan.trials if trial_id in plan.ended),
        "earlier_ids": plan.earlier_ids,
        "epochs": plan.epochs,
        "surfaces": {
            name: [surface.surface_id for surface in surfaces]
            for name, surfaces in plan.surfaces.items()
        },
        "unmeasured": [surface.surface_id for surface in plan.unmeasured],
        "points": plan.points,
        "gpu_hours": speeds.total_seconds(work, "cuda") / 3600,
        "core_hours": speeds.total_seconds(work, "cpu") / 3600,
        "bytes": plan.disk_bytes(kept=(), side_by_side=cores()),
    }
