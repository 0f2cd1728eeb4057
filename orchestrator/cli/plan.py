"""The command `plan`: what remains to be run, as text or as JSON, or the spec of one trial."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from orchestrator.cli.options import experiment_options, format_option
from orchestrator.output.text import byte_size, cores
from results_schema.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.planning.estimate import Speeds
    from orchestrator.planning.plan import Plan


@click.command()
@experiment_options
@format_option("json")
@click.option(
    "--spec",
    metavar="TRIAL",
    help="Print the JSON of the trial whose id begins so, for python -m workers.train.",
)
def plan(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    output_format: str,
    spec: str | None,
) -> None:
    """Show what remains to be run, what is reused and what it takes."""
    from orchestrator.config.experiment import load_experiments
    from orchestrator.planning.estimate import Speeds, measured_speeds
    from orchestrator.planning.plan import make_plan
    from results_schema.store import find_store

    loaded, found = load_experiments(experiments, profile, overrides), find_store(store)
    made = make_plan(loaded, found)
    speeds = measured_speeds(found) if found else Speeds()
    if spec is not None:
        click.echo(_one_trial(made, spec))
    elif output_format == "json":
        click.echo(json.dumps(_as_json(made, speeds), indent=1))
    else:
        for line in describe_plan(made, speeds):
            click.echo(line)
        if found is None:
            click.echo(f"there is no store {store} yet")


def describe_plan(plan: Plan, speeds: Speeds) -> Iterator[str]:
    """Yield lines: what each experiment names, what is reused, and how much there is to do."""
    trials, owed = len(plan.trials), len(plan.remaining)
    for name, members in plan.members.items():
        distinct = {member.spec.trial_id for member in members}
        done = sum(trial_id in plan.ended for trial_id in distinct)
        yield f"{name}: {len(distinct)} trials, {done} ended"
    shared = sum(len({m.spec.trial_id for m in ms}) for ms in plan.members.values()) - trials
    if shared:
        yield f"shared between experiments: {shared}"
    if again := sum(spec.trial_id in plan.failed for spec in plan.remaining):
        yield f"failed before, to be tried again: {again}"
    yield f"{trials - owed} of {trials} trials are reused, {owed} owed: {plan.epochs} epochs"
    if plan.earlier_ids:
        yield (
            f"{plan.earlier_ids} ended trials of the store have ids of an earlier format: "
            "readable, but not reused"
        )
    if plan.wanted:
        left = len(plan.unmeasured)
        yield (
            f"{len(plan.wanted) - left} of {len(plan.wanted)} surfaces are finished, {left} owed: "
            f"{plan.points} points"
        )
    if work := plan.work:
        from orchestrator.planning.estimate import format_duration

        for device, count in (("cuda", 1), ("cpu", cores())):
            total = speeds.total_seconds(work, device)
            takes, hours = format_duration(total, device, count), total / 3600
            unit = "GPU-hours" if device == "cuda" else "core-hours"
            shown = f"{hours:,.0f}" if hours >= 10 else f"{hours:.2g}"
            start = "that takes" if device == "cuda" else "or"
            yield f"{start} {takes}: {shown} {unit} ({speeds.basis(work, device)})"
        disk = plan.disk_bytes(kept=(), side_by_side=cores())
        yield f"and up to {byte_size(disk)} of disk"


def _one_trial(plan: Plan, start: str) -> str:
    found = [trial_id for trial_id in plan.trials if trial_id.startswith(start)]
    if len(found) != 1:
        raise ConfigError(
            f"{len(found) or 'no'} trials begin with {start!r}",
            where="--spec",
            fix="nas-sweep plan --format json lists their ids",
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
