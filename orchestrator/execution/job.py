"""Jobs of a Ray cluster: a command that its head runs, and stops when it is asked to."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from typing import NamedTuple

from ray.dashboard.utils import get_address_for_submission_client
from ray.exceptions import RayError
from ray.job_submission import JobStatus, JobSubmissionClient

from orchestrator.execution import access
from results_schema.errors import MachineError
from workers.signals import GRACE

START = 60.0
"""Seconds that a cluster may take to start a job before it is left waiting."""
SETTLE = 2.0
"""Seconds after which a command that could not even begin has ended."""
EVERY = 0.3
"""Seconds between two looks."""
_STOP_WAIT = "RAY_JOB_STOP_WAIT_TIME_S"
_ELSEWHERE = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""What Ray would take in place of the address that the user has given."""
_CLOSED = (
    "if the dashboard listens on its own machine alone, tunnel: ssh -L 8265:localhost:8265 HEAD, "
    "and give --address http://localhost:8265"
)


class Job(NamedTuple):
    """A job that was submitted.

    Attributes:
        name: By which Ray knows it.
        dashboard: URL of the cluster's dashboard, which takes jobs.
        state: "runs", "waits to be started" or "has ended".
    """

    name: str
    dashboard: str
    state: str


def submit(
    command: str, folder: str, experiment: str, address: str, *, allow_open: bool = False
) -> Job:
    """Has the head of a cluster run a command in a copy of a folder.

    Args:
        command: For a shell.
        folder: Sent to the head, and to every worker that the command starts.
        experiment: For the job's name.
        address: "auto" or HOST:PORT of a cluster that `access.admit` has looked at, or the URL of
            its dashboard.
        allow_open: Whether a cluster that asks for no token will do.

    Raises:
        MachineError: The dashboard can't be reached or refuses the job, or the job failed at once.
    """
    if address != "auto":
        for name in _ELSEWHERE:
            os.environ.pop(name, None)
    with _quietly(), _told(address):
        url = get_address_for_submission_client(address)
        if not access.asks(url):
            access.refuse_open(f"--address {address}", allow_open=allow_open)
        client = JobSubmissionClient(url)
        name = client.submit_job(
            entrypoint=command,
            submission_id=re.sub(r"[^\w-]", "-", f"{experiment}-{uuid.uuid4().hex[:8]}"),
            runtime_env={
                "working_dir": folder,
                # So that trials have the time to commit what they have.
                "env_vars": {_STOP_WAIT: str(int(4 * GRACE))},
            },
        )
        return Job(name, url, _started(client, name))


def _started(client: JobSubmissionClient, name: str) -> str:
    """Waits until a job runs, or a while.

    Raises:
        MachineError: It failed.
    """
    end = time.monotonic() + START
    ran = 0.0
    while (now := time.monotonic()) < end:
        status = client.get_job_status(name)
        if status == JobStatus.FAILED:
            last = client.get_job_logs(name).strip().splitlines()[-3:]
            reason = "\n  ".join([str(client.get_job_info(name).message), *last])
            raise MachineError(f"the job failed at once: {reason}", where=f"job {name}")
        if status.is_terminal():
            return "has ended"
        if status == JobStatus.RUNNING:
            ran = ran or now
            if now - ran >= SETTLE:
                return "runs"
        time.sleep(EVERY)
    return "waits to be started"


@contextlib.contextmanager
def _told(address: str) -> Iterator[None]:
    """Says in the user's words what Ray's client raises, which has no errors of its own for it."""
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
def _quietly() -> Iterator[None]:
    """Without Ray's lines on what it sends where."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
