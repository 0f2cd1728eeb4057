"""The commands that run experiments: `plan`, `launch`, `landscape` and `doctor`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click
from click import Choice, FloatRange, IntRange, command, option

from orchestrator.cli.options import (
    GpuShare,
    announce,
    cluster_options,
    experiment_options,
    file_options,
    format_option,
    open_store,
    print_result,
    replace_option,
    store_option,
    subset_options,
)
from orchestrator.output.tables import TextTable
from orchestrator.output.text import byte_size, cores, counted
from results_schema.errors import ConfigError, StoreError

if TYPE_CHECKING:
    from orchestrator.config.experiment import Experiment
    from orchestrator.planning.estimate import Speeds
    from orchestrator.planning.plan import Plan
    from results_schema.store import Store


@command()
@experiment_options
@format_option("json")
@option(
    "--spec",
    metavar="TRIAL",
    help="Print the JSON of the trial whose id begins so, for python -m workers.train.",
)
@subset_options
def plan(
    experiments: Sequence[Experiment],
    store: str,
    output_format: str,
    spec: str | None,
    only: Sequence[str],
    limit: int | None,
) -> None:
    """Show what remains to be run, what is reused and what it takes."""
    from orchestrator.planning.estimate import Speeds, measured_speeds
    from orchestrator.planning.plan import make_plan
    from results_schema.store import find_store

    found = find_store(store)
    made = make_plan(experiments, found).choose(only, limit)
    speeds = measured_speeds(found) if found else Speeds()
    if spec is not None:
        click.echo(_one_trial(made, spec))
    elif output_format == "json":
        click.echo(json.dumps(_as_json(made, speeds), indent=1))
    else:
        for line in describe_plan(made, speeds, found):
            click.echo(line)
        if found is None:
            click.echo(f"there is no store {store} yet")


def describe_plan(plan: Plan, speeds: Speeds, store: Store | None) -> Iterator[str]:
    """Yield lines: what each experiment names, what is reused, and how much there is to do."""
    trials, left, (ended, finished) = len(plan.trials), len(plan.remaining), plan.count_ended()
    for name, members in plan.members.items():
        distinct = {member.spec.trial_id for member in members}
        done = sum(trial_id in plan.ended for trial_id in distinct)
        pruned = len(plan.stopped.get(name, {}).keys() - {*plan.ended})
        of = f"{done} ended" + f", {pruned} pruned" * bool(pruned)
        yield f"{name}: {counted(len(distinct), 'trial')}, {of}"
    shared = sum(len({m.spec.trial_id for m in ms}) for ms in plan.members.values()) - trials
    if shared:
        yield f"shared between experiments: {shared}"
    if again := sum(spec.trial_id in plan.failed for spec in plan.remaining):
        yield f"failed before, to be tried again: {again}"
    chosen = "" if plan.chosen is None else f" of {counted(len(plan.chosen), 'chosen trial')}"
    work = f"{left:,} to do{chosen}: {counted(plan.epochs, 'epoch')}"
    yield f"{ended:,} of {counted(trials, 'trial')} reused, {work}"
    if store is not None and left:
        from orchestrator.planning.difference import summary

        yield from summary(plan, store)
    for name, digests in plan.sources.items():
        if len(digests) > 1:
            yield (
                f"{name}: trials of {len(digests)} different sources ({', '.join(digests)}); "
                "raise the version if the change changes numbers"
            )
    if plan.earlier_ids:
        yield (
            f"{plan.earlier_ids} ended trials of the store have ids of an earlier format: "
            "readable, but not reused"
        )
    if plan.wanted:
        left, surfaces = len(plan.unmeasured), len(plan.wanted)
        yield (
            f"{finished} of {surfaces} surfaces are finished, {left} to do: {plan.points} points"
        )
    yield from (f"warning: {one}" for one in plan.warnings)
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


@command()
@experiment_options
@subset_options
@replace_option
@cluster_options
@option(
    "--gpus-per-trial",
    type=GpuShare(auto=True),
    default=1.0,
    help="Share of a GPU for each process that trains. auto: one a GPU, with as many trials side "
    "by side as is measured to be best.",
)
@option(
    "--pack",
    type=IntRange(1),
    metavar="K",
    help="Train K trials side by side in each process. Default: 1, or what auto finds.",
)
@option(
    "--landscape",
    type=Choice(["first", "last", "none"]),
    default="first",
    help="Measure surfaces as soon as their checkpoints land, after all trials, or not at all.",
)
@option(
    "--checkpoint-every",
    type=FloatRange(0),
    default=60.0,
    metavar="SECONDS",
    help="Least time between checkpoints of a trial.",
)
@option(
    "--checkpoint-at",
    type=IntRange(1),
    multiple=True,
    metavar="EPOCH",
    help="Keep the checkpoint of this epoch of every trial; repeatable.",
)
@option(
    "--max-hours",
    type=FloatRange(0, min_open=True),
    metavar="H",
    help="Stop after H hours; the same command resumes.",
)
@option("--fail-fast", is_flag=True, help="Stop when a trial or surface has failed.")
@option(
    "--deterministic",
    is_flag=True,
    help="Make results on a GPU repeat bit by bit; training gets slower.",
)
@option(
    "--detach",
    "detached",
    is_flag=True,
    help="Submit the launch to the cluster at --address as a job, which runs without this process.",
)
def launch(
    experiments: Sequence[Experiment],
    store: str,
    detached: bool,
    replace: bool,
    **options: Any,
) -> None:
    """Train and measure what remains, print results and draw figures."""
    from orchestrator.cli import launch as commands

    if detached:
        from orchestrator.execution.jobs import detach
        from results_schema.store import find_store

        if found := find_store(store):  # here, since a job has no terminal to ask at
            commands.confirm_drops(experiments, found, replace=replace, ask=False)
        for line in detach(experiments, click.get_current_context()):
            click.echo(line)
        return
    sys.exit(commands.launch(experiments, store, replace=replace, **options))


@command()
@experiment_options
@subset_options
@replace_option
@cluster_options
def landscape(experiments: Sequence[Experiment], store: str, **options: Any) -> None:
    """Measure remaining surfaces of ended trials; train nothing."""
    from orchestrator.cli import launch as commands

    sys.exit(commands.measure(experiments, store, **options))


@command()
@file_options
@format_option("json", "csv", "md")
def why(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    name: str | None,
    store: str,
    output_format: str,
) -> None:
    """Show why trials are new: how they differ from what has ended.

    Every planned trial of experiments' files, or those that are named after the files, is compared
    with the nearest that has ended. Two trials of a store are compared with each other.
    """
    from orchestrator.config import packaged
    from orchestrator.planning import difference

    opened = open_store(store)
    paths = {one: packaged.resolve(one) for one in experiments}
    files = [one for one, at in paths.items() if at.suffix in (".yaml", ".yml") or at.is_dir()]
    trials = [one for one in experiments if one not in files]
    if files:
        from orchestrator.config.experiment import load_experiments

        loaded = load_experiments(files, profile, overrides, name)
        found = difference.explain(loaded, opened, trials)
        rows = [(one.trial_id, one.ended or "–", "; ".join(map(str, one.changes))) for one in found]
        heads = ("trial", "nearest that has ended", "what differs")
        records = [
            {"trial": one.trial_id, "ended": one.ended}
            | {"changes": [change._asdict() for change in one.changes]}
            for one in found
        ]
        remarks = () if found else ("Nothing is new: every trial has ended.",)
    elif len(trials) == 2:
        from orchestrator.housekeeping.lookup import find_item

        found = difference.compare(opened, [find_item(opened, one) for one in trials])
        rows, heads, remarks = list(map(tuple, found)), ("field", *trials), ()
        records = [change._asdict() for change in found]
        remarks = () if found else ("They are the same trial.",)
    else:
        fix = "name an experiment's file, or two trials of the store"
        raise ConfigError(f"{counted(len(trials), 'trial')} and no file", fix=fix)
    table = TextTable("", heads, rows, left=range(len(heads)), remarks=remarks)
    print_result(output_format, [table], records)


@command()
@store_option
@option("--tables", is_flag=True, help="Check the store's tables alone, whoever wrote them.")
@format_option("json")
def doctor(store: str, tables: bool, output_format: str) -> None:
    """Check this machine and the store, with a fix for each problem."""
    from orchestrator.execution.preflight import run_checks
    from orchestrator.housekeeping.contract import check_tables

    announce("checking this machine and the store")
    checks = []
    for check in check_tables(open_store(store)) if tables else run_checks(store):
        checks.append(check)
        if output_format == "text":  # each as it is found, since some take seconds
            fix = f"; {check.fix}" if check.fix else ""
            line = f"{check.verdict:4}  {check.name}: {check.found}{fix}"
            click.echo(" ".join(line.splitlines()))
    if output_format == "json":
        click.echo(json.dumps([check._asdict() for check in checks], indent=1))
    sys.exit(StoreError.exit_code if any(check.verdict == "bad" for check in checks) else 0)


COMMANDS = (plan, why, launch, landscape, doctor)
