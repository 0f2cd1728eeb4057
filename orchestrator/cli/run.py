"""The commands that run experiments: `launch`, `landscape` and `doctor`; `plan` has a module."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from orchestrator.cli import plan
from orchestrator.cli.options import (
    GpuShare,
    cluster_options,
    experiment_options,
    format_option,
    store_option,
)
from results_schema.errors import StoreError


@click.command()
@experiment_options
@cluster_options
@click.option(
    "--gpus-per-trial",
    type=GpuShare(auto=True),
    default=1.0,
    show_default=True,
    help="Share of a GPU for each process that trains. auto: one a GPU, with as many trials side "
    "by side as is measured to be best.",
)
@click.option(
    "--pack",
    type=click.IntRange(1),
    metavar="K",
    help="Train K trials side by side in each process. Default: 1, or what auto finds.",
)
@click.option(
    "--landscape",
    type=click.Choice(["first", "last", "none"]),
    default="first",
    show_default=True,
    help="Measure surfaces as soon as their checkpoints land, after all trials, or not at all.",
)
@click.option(
    "--checkpoint-every",
    type=click.FloatRange(0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="Least time between checkpoints of a trial.",
)
@click.option(
    "--checkpoint-at",
    type=click.IntRange(1),
    multiple=True,
    metavar="EPOCH",
    help="Keep the checkpoint of this epoch of every trial; repeatable.",
)
@click.option(
    "--deterministic",
    is_flag=True,
    help="Make results on a GPU repeat bit by bit; training gets slower.",
)
@click.option(
    "--detach",
    "detached",
    is_flag=True,
    help="Submit the launch to the cluster at --address as a job, which runs without this process.",
)
def launch(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    detached: bool,
    **options: Any,
) -> None:
    """Train and measure what remains, print results and draw figures."""
    from orchestrator.cli import launch as commands
    from orchestrator.config.experiment import load_experiments

    loaded = load_experiments(experiments, profile, overrides)
    if detached:
        from orchestrator.execution.jobs import detach

        for line in detach(loaded, click.get_current_context()):
            click.echo(line)
        return
    sys.exit(commands.launch(loaded, store, **options))


@click.command()
@experiment_options
@cluster_options
@click.option(
    "--trials",
    multiple=True,
    metavar="TRIAL",
    help="Measure surfaces only of trials whose id begins so; repeatable.",
)
def landscape(
    experiments: tuple[str, ...],
    profile: str | None,
    overrides: tuple[str, ...],
    store: str,
    trials: tuple[str, ...],
    **options: Any,
) -> None:
    """Measure remaining surfaces of ended trials; train nothing."""
    from orchestrator.cli import launch as commands
    from orchestrator.config.experiment import load_experiments

    loaded = load_experiments(experiments, profile, overrides)
    sys.exit(commands.measure(loaded, store, trials, **options))


@click.command()
@store_option
@format_option("json")
def doctor(store: str, output_format: str) -> None:
    """Check this machine and the store, with a fix for each problem."""
    from orchestrator.execution.preflight import run_checks

    checks = []
    for check in run_checks(store):
        checks.append(check)
        if output_format == "text":  # each as it is found, since some take seconds
            fix = f"; {check.fix}" if check.fix else ""
            line = f"{check.verdict:4}  {check.name}: {check.found}{fix}"
            click.echo(" ".join(line.splitlines()))
    if output_format == "json":
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    sys.exit(StoreError.exit_code if any(check.verdict == "bad" for check in checks) else 0)


COMMANDS = (plan.plan, launch, landscape, doctor)
