"""`launch --detach`: the same launch as a job of the cluster, which outlives this process."""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from orchestrator.config.experiment import Experiment, find_files
from orchestrator.execution import access, environment, shipping
from results_schema.errors import ConfigError
from results_schema.store import attach_store

OWN = frozenset({"detached", "experiments", "profile", "store", "address", "ship_code"})
"""Parameters of the command that a job is given in another way, or not at all."""


def detach(experiments: Sequence[Experiment], context: click.Context) -> None:
    """Submits a launch to a cluster and tells how to follow it.

    Args:
        experiments: What was read from the files that the user gave.
        context: Of the command `launch`: all that the user gave.

    Raises:
        ConfigError: No cluster is named, or a file can't go along.
        MachineError: The cluster can't be reached, refuses the job, or can't start it.
        StoreError: The store is no place for one.
    """
    given = context.params
    address, name = given["address"], experiments[0].name
    if address is None:
        raise ConfigError(
            "--detach leaves the launch to a cluster, and none is named",
            fix="add --address auto or HOST:PORT; docs/cluster.md tells how to start one",
        )
    location = attach_store(given["store"]).location
    environment.prepare()
    access.admit(address, allow_open=given["allow_open_cluster"])
    with tempfile.TemporaryDirectory(prefix="nas-sweep-job-") as folder:
        shipment = shipping.pack(
            Path(folder),
            find_files(given["experiments"]),
            experiments,
            profile=given["profile"],
            overrides=given["overrides"],
        )
        command = words(shipment, location, context)
        from orchestrator.execution.job import submit

        job = submit(
            shlex.join(command), folder, name, address, allow_open=given["allow_open_cluster"]
        )
    mode = "" if access.disabled() else f"{access.MODE}=token "
    named, at = shlex.quote(job.name), shlex.quote(job.dashboard)
    seen = shlex.quote(location)
    for line in (
        f"job {job.name} {job.state} on {job.dashboard}; it goes on without this process",
        f"  nas-sweep status --store {seen} --watch",
        f"  {mode}ray job logs --follow --address {at} {named}",
        f"to end it, with all ended epochs kept: {mode}ray job stop --address {at} {named}",
        f"or nas-sweep cancel --store {seen} {' '.join(one.name for one in experiments)}",
    ):
        click.echo(line)


def words(shipment: shipping.Shipment, location: str, context: click.Context) -> list[str]:
    """The job's command: what the user gave, for the shipment's files and the cluster's address."""
    command = ["python", "-m", "orchestrator.cli", "launch", *shipment.experiments]
    command += [f"--profile={shipment.profile}"] * (shipment.profile is not None)
    command += [f"--store={location}", "--address=auto"]
    for parameter in context.command.params:
        if parameter.name in OWN or not isinstance(parameter, click.Option):
            continue
        source = context.get_parameter_source(parameter.name or "")
        if source is not ParameterSource.DEFAULT:
            command += _said(parameter, context.params[parameter.name or ""])
    return command


def _said(option: click.Option, value: Any) -> list[str]:
    """An option with its value, as on a command line."""
    [name] = option.opts
    if option.is_flag:
        return [name] * bool(value)
    return [f"{name}={one}" for one in (value if option.multiple else [value])]
