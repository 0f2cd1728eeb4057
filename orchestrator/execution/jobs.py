"""`launch --detach`: the same launch as a job of the cluster, which outlives this process.

The job is sent this very code, and the files that its experiments are read from.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shlex
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import click
from click.core import ParameterSource

from orchestrator.config.experiment import Experiment, find_files, find_profile, load_experiment
from orchestrator.execution import access
from orchestrator.execution.trainable import PLUGINS, PROGRAMS
from results_schema.errors import ConfigError, MachineError
from results_schema.plugins import SUFFIX, computing
from results_schema.store import attach_store
from workers.data.custom import source_files
from workers.program.source import FOUND
from workers.signals import GRACE

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

PACKAGES = ("results_schema", "workers", "orchestrator", "nas_sweep")
FILES = "files"
"""Folder of a shipment for the experiments' files, with the same paths between them as here."""
REPLACED = frozenset({"detached", "experiments", "profile", "store", "address", "ship_code"})
"""Parameters of the command that a job is given in another way, or not at all."""
START = 60.0
"""Seconds that a cluster may take to start a job before it is left waiting."""
SETTLE = 2.0
"""Seconds after which a command that could not even begin has ended."""
INTERVAL = 0.3
"""Seconds between two requests for a job's status."""
_OTHER_ADDRESSES = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
"""Variables that Ray would take in place of the address that the user has given."""
_CLOSED = (
    "if the dashboard listens on its own machine alone, tunnel: ssh -L 8265:localhost:8265 HEAD, "
    "and give --address http://localhost:8265"
)

State = Literal["runs", "waits to be started", "has ended"]


class Shipment(NamedTuple):
    """Paths in a sent folder: of experiments' files, and of their profile's if they have one."""

    experiments: list[str]
    profile: str | None


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
        shipment = pack(
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


def pack_code(folder: Path) -> None:
    """Copy this code into an empty or missing folder, with a note of its release and commit.

    The files of programs, and of plug-ins that workers need, go with it.
    """
    from workers.origin import SHIPPED, code_origin

    root, ignore = Path(__file__).parents[2], shutil.ignore_patterns("__pycache__", ".*")
    for name in PACKAGES:
        shutil.copytree(root / name, folder / name, ignore=ignore)
    for plugin in computing():
        if plugin.name.endswith(SUFFIX):
            (folder / PLUGINS).mkdir(exist_ok=True)
            shutil.copyfile(plugin.path, folder / PLUGINS / plugin.name)
    for source in FOUND.values():
        for file in source.files:
            place = folder / PROGRAMS / source.digest / file
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source.root / file, place)
    (folder / SHIPPED).write_text(json.dumps(code_origin()))


def pack(
    folder: Path,
    paths: Sequence[Path],
    experiments: Sequence[Experiment],
    *,
    profile: str | None,
    overrides: Sequence[str],
) -> Shipment:
    """Copy this code, and all that is read for some experiments, into an empty folder.

    Args:
        folder: The folder.
        paths: The experiments' files.
        experiments: What was read from them.
        profile: A profile as `load_experiment` takes it.
        overrides: Values as `load_experiment` takes them.

    Raises:
        ConfigError: A cell's or plug-in's file is named by a path that means nothing on another
            machine, or the experiments have several profiles.
    """
    pack_code(folder)
    chosen = [find_profile(profile, path) for path in paths] if profile else []
    named = [file for one in experiments for _, file in _named_files(one)]
    files = [Path(os.path.normpath(path.absolute())) for path in (*paths, *chosen, *named)]
    # Files name each other by relative paths, which stay right below a common root.
    root = os.path.commonpath([path.parent for path in files])
    names = [(FILES / path.relative_to(root)).as_posix() for path in files]
    for path, name in zip(files, names, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, folder / name)
    profiles = sorted(set(names[len(paths) : len(paths) + len(chosen)]))
    if len(profiles) > 1:
        several = " and ".join(name.removeprefix(f"{FILES}/") for name in profiles)
        raise ConfigError(
            f"the experiments have several profiles of this name: {several}",
            where="--profile",
            fix="launch them apart, or give the profile's path",
        )
    shipment = Shipment(names[: len(paths)], profiles[0] if profiles else None)
    for path, name in zip(paths, shipment.experiments, strict=True):
        # Overrides may name files too, so the whole is read again, from where it will be read.
        moved = str(folder / shipment.profile) if shipment.profile else None
        packed = load_experiment(folder / name, profile=moved, overrides=overrides)
        for what, file in _named_files(packed):
            if not file.is_relative_to(folder):
                raise ConfigError(
                    f"{what} in {file}, a path of this machine alone",
                    where=str(path),
                    fix="name the file by its path from the experiment's file",
                )
    return shipment


def _named_files(experiment: Experiment) -> Iterator[tuple[str, Path]]:
    """Yield what an experiment reads from files of the user, and each file."""
    for base in experiment.grid.genotype:
        if base.file:
            yield f"the cells of {base.name} are", base.file
    for name in experiment.grid.dataset:
        for file in source_files(name):
            yield f"the data set {name} is", file
    for file in experiment.extended:
        yield f"the experiment extends {file.name}", file
    for plugin in experiment.loaded_plugins:
        if plugin.name.endswith(SUFFIX):
            yield f"the plug-in {plugin.name} is", plugin.path
    if experiment.source:
        for file in experiment.source.files:
            yield f"the program {experiment.program} is", experiment.source.root / file


def job_command(shipment: Shipment, location: str, context: click.Context) -> list[str]:
    """Return a job's command: what the user gave, for the shipment's files and its own cluster."""
    command = ["python", "-m", "orchestrator.cli", "launch", *shipment.experiments]
    command += [f"--profile={shipment.profile}"] * (shipment.profile is not None)
    command += [f"--store={location}", "--address=auto"]
    for option in context.command.params:
        name = option.name or ""
        # What the user left open is left to the cluster, whose release may have other defaults.
        default = context.get_parameter_source(name) is ParameterSource.DEFAULT
        if name in REPLACED or default or not isinstance(option, click.Option):
            continue
        [flag], value = option.opts, context.params[name]
        if option.is_flag:
            command += [flag] * bool(value)
        else:
            command += [f"{flag}={one}" for one in (value if option.multiple else [value])]
    return command


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
    from ray.exceptions import RayError
    from ray.job_submission import JobSubmissionClient

    if address != "auto":
        for name in _OTHER_ADDRESSES:
            os.environ.pop(name, None)
    where = f"--address {address}"
    # Ray kills a job 3 s after it was asked to stop; trials need longer to commit.
    environment = {"RAY_JOB_STOP_WAIT_TIME_S": str(int(4 * GRACE))}
    try:
        with access.without_log_lines(logging.WARNING):
            url = get_address_for_submission_client(address)
            if not access.asks_for_token(url):
                access.refuse_open(where, allow_open=allow_open)
            client = JobSubmissionClient(url)
            name = client.submit_job(
                entrypoint=command,
                submission_id=re.sub(r"[^\w-]", "-", f"{experiment}-{uuid.uuid4().hex[:8]}"),
                runtime_env={"working_dir": folder, "env_vars": environment},
            )
            return name, url, _wait_for_start(client, name)
    # Ray's client has no types of its own for its errors.
    except (ConnectionError, OSError) as error:
        what = f"the cluster's dashboard, which takes jobs, can't be reached: {error}"
        raise MachineError(what, where=where, fix=_CLOSED) from error
    except (RayError, RuntimeError, ValueError) as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise MachineError(f"the cluster refuses the job: {first}", where=where) from error


def _wait_for_start(client: JobSubmissionClient, name: str) -> State:
    """Wait until a job runs, or for a while; raise MachineError if it failed."""
    from ray.job_submission import JobStatus

    running = 0
    for _ in range(int(START / INTERVAL)):
        status = client.get_job_status(name)
        if status == JobStatus.FAILED:
            last = client.get_job_logs(name).strip().splitlines()[-3:]
            reason = "\n  ".join([str(client.get_job_info(name).message), *last])
            raise MachineError(f"the job failed at once: {reason}", where=f"job {name}")
        if status.is_terminal():
            return "has ended"
        # A job counts as running before its command has begun: one that can't begin fails soon.
        running += status == JobStatus.RUNNING
        if running * INTERVAL > SETTLE:
            return "runs"
        time.sleep(INTERVAL)
    return "waits to be started"
