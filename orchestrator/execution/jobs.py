"""`launch --detach`: the same launch as a job of the cluster, which outlives this process."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click
from click.core import ParameterSource

from orchestrator.config.experiment import Experiment, find_files
from orchestrator.execution import access, shipping
from results_schema.errors import ConfigError, MachineError
from results_schema.store import attach_store
from workers.signals import GRACE

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

REPLACED = frozenset({"detached", "experiments", "profile", "store", "address", "ship_code"})
"""Parameters of the command that a job is given in another way, or not at all."""
START = 60.0
"""Seconds that a cluster may take to start a job before it is left waiting."""
SETTLE = 2.0
"""Seconds after which a command that could not even begin has ended."""
INTERVAL = 0.3
"""Seconds between two requests for a job's status."""
_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
_OTHER_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray would take in place of the address that the user has given."""
_CLOSED = (
    "if the dashboard listens on its own machine alone, tunnel: ssh -L 8265:localhost:8265 HEAD, "
    "and give --address http://localhost:8265"
)

State = Literal["runs", "waits to be started", "has ended"]


def detach(experiments: Sequence[Experiment], context: click.Context) -> list[str]:
    """Submit a launch to a cluster; return the lines that describe how to follow and end it.

    Args:
        experiments: What was read from the files that the user gave.
        context: Context of the command `launch`, with all that the user gave.

    Raises:
        ConfigError: No cluster is named, or a file can't be sent along.
        MachineError: The cluster can't be reached, refuses the job, or can't start it.
        StoreError: The store's location can't be used.
    """
    given = context.params
    address, allow_open = given["address"], given["allow_open_cluster"]
    if address is None:
        raise ConfigError(
            "--detach leaves the launch to a cluster, and none is named",
            fix="add --address auto or HOST:PORT; docs/cluster.md describes how to start one",
        )
    location = attach_store(given["store"]).location
    access.apply_ray_settings()
    access.admit(address, allow_open=allow_open)
    with tempfile.TemporaryDirectory(prefix="nas-sweep-job-") as folder:
        shipment = shipping.pack(
            Path(folder),
            find_files(given["experiments"]),
            experiments,
            profile=given["profile"],
            overrides=given["overrides"],
        )
        command = shlex.join(job_command(shipment, location, context))
        name, dashboard, state = _submit(
            command, folder, experiments[0].name, address, allow_open=allow_open
        )
    mode = "" if access.disabled() else f"{access.MODE}=token "
    store, at = shlex.quote(location), shlex.quote(dashboard)
    return [
        f"job {name} {state} on {dashboard}; it does not need this process any more",
        f"  nas-sweep status --store {store} --watch",
        f"  {mode}ray job logs --follow --address {at} {name}",
        f"to end it, with all ended epochs kept: {mode}ray job stop --address {at} {name}",
        f"or nas-sweep cancel --store {store} {' '.join(one.name for one in experiments)}",
    ]


def job_command(shipment: shipping.Shipment, location: str, context: click.Context) -> list[str]:
    """Return a job's command: what the user gave, for the shipment's files and its own cluster."""
    command = ["python", "-m", "orchestrator.cli", "launch", *shipment.experiments]
    command += [f"--profile={shipment.profile}"] * (shipment.profile is not None)
    command += [f"--store={location}", "--address=auto"]
    for parameter in context.command.params:
        if parameter.name in REPLACED or not isinstance(parameter, click.Option):
            continue
        # What the user left open is left to the cluster, whose release may have other defaults.
        if context.get_parameter_source(parameter.name or "") is not ParameterSource.DEFAULT:
            command += _as_given(parameter, context.params[parameter.name or ""])
    return command


def _as_given(option: click.Option, value: Any) -> list[str]:
    """Return an option with its value, as on a command line."""
    [name] = option.opts
    if option.is_flag:
        return [name] * bool(value)
    return [f"{name}={one}" for one in (value if option.multiple else [value])]


def _submit(
    command: str, folder: str, experiment: str, address: str, *, allow_open: bool
) -> tuple[str, str, State]:
    """Make the head of a cluster run a command in a copy of a folder.

    Returns:
        Ray's name of the job, made of the experiment's, the URL of the dashboard that took it, and
        how far the cluster got with it.

    Raises:
        MachineError: The dashboard can't be reached or refuses the job, or the job failed at once.
    """
    # Ray reads its settings, and whether to send a token, when it is imported.
    from ray.dashboard.utils import get_address_for_submission_client
    from ray.job_submission import JobSubmissionClient

    if address != "auto":
        for name in _OTHER_ADDRESSES:
            os.environ.pop(name, None)
    with _without_log_lines(), _errors_translated(address):
        url = get_address_for_submission_client(address)
        if not access.asks_for_token(url):
            access.refuse_open(f"--address {address}", allow_open=allow_open)
        client = JobSubmissionClient(url)
        name = client.submit_job(
            entrypoint=command,
            submission_id=re.sub(r"[^\w-]", "-", f"{experiment}-{uuid.uuid4().hex[:8]}"),
            runtime_env={
                "working_dir": folder,
                # Ray kills a job 3 s after it was asked to stop; trials need longer to commit.
                "env_vars": {_STOP_WAIT: str(int(4 * GRACE))},
            },
        )
        return name, url, _wait_for_start(client, name)


def _wait_for_start(client: JobSubmissionClient, name: str) -> State:
    """Wait until a job runs, or for a while; raise MachineError if it failed."""
    from ray.job_submission import JobStatus

    end = time.monotonic() + START
    running_since = 0.0
    while (now := time.monotonic()) < end:
        status = client.get_job_status(name)
        if status == JobStatus.FAILED:
            last = client.get_job_logs(name).strip().splitlines()[-3:]
            reason = "\n  ".join([str(client.get_job_info(name).message), *last])
            raise MachineError(f"the job failed at once: {reason}", where=f"job {name}")
        if status.is_terminal():
            return "has ended"
        # A job counts as running before its command has begun: one that can't begin fails soon.
        if status == JobStatus.RUNNING:
            running_since = running_since or now
            if now - running_since >= SETTLE:
                return "runs"
        time.sleep(INTERVAL)
    return "waits to be started"


@contextlib.contextmanager
def _errors_translated(address: str) -> Iterator[None]:
    """Turn errors of Ray's client, which has no types of its own for them, into MachineError."""
    from ray.exceptions import RayError

    try:
        yield
    except (ConnectionError, OSError) as error:
        raise MachineError(
            f"the cluster's dashboard, which takes jobs, can't be reached: {error}",
            where=f"--address {address}",
            fix=_CLOSED,
        ) from error
    except (RayError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(
            f"the cluster refuses the job: {first}", where=f"--address {address}"
        ) from error


@contextlib.contextmanager
def _without_log_lines() -> Iterator[None]:
    """Suppress Ray's log lines about what it sends where."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
