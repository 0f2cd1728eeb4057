"""Ray, started on this machine or joined elsewhere, and how to open its dashboard."""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray
from rich.console import Console

from orchestrator import access, shipping
from orchestrator.words import cores
from results_schema.errors import MachineError

LATE = 25
"""Tenths of a second for which processes of a Ray that was cut off may still write."""


@contextlib.contextmanager
def cluster(
    address: str | None, console: Console, *, allow_open: bool = False, ship_code: bool = False
) -> Iterator[None]:
    """Ray is up inside this context; what was started here leaves no process behind.

    Args:
        address: "auto" or HOST:PORT of a running cluster, which `access.admit` has looked at; None
            starts Ray on this machine.
        console: Told the dashboard's address.
        allow_open: Whether a cluster that asks for no token will do.
        ship_code: Whether nodes are to run this very code, whatever they have.

    Raises:
        MachineError: Ray can't be started or reached, or asks for no token.
    """
    with contextlib.ExitStack() as stack:
        own: dict[str, Any] = {}
        if address is None:
            folder = _short_folder()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            atexit.register(_remove_late, folder)
            own = {
                "num_cpus": cores(),
                "include_dashboard": True,
                "object_store_memory": 200_000_000,  # items and rows are small
                "_temp_dir": folder,
            }
        if address and ship_code:
            code = stack.enter_context(tempfile.TemporaryDirectory(prefix="nas-sweep-code-"))
            shipping.pack_code(Path(code))
            own["runtime_env"] = {"working_dir": code}
        stack.callback(ray.shutdown)
        try:
            with _unwound_by_sigterm(), _temporary_files_in(own.get("_temp_dir")):
                context = ray.init(
                    address or "local", logging_level=logging.ERROR, log_to_driver=False, **own
                )
        except (RuntimeError, ValueError, OSError) as error:
            raise MachineError(
                f"Ray can't be {'reached' if address else 'started'}: {error}",
                where=address or "",
                fix="check --address; without it Ray is started on this machine",
            ) from error
        atexit.unregister(_remove_late)
        if address and not access.asks(ray.get_runtime_context().gcs_address):
            access.refuse_open(f"--address {address}", allow_open=allow_open)
        _introduce(context.dashboard_url, console)
        yield


def has_gpus() -> bool:
    """Whether any node of the cluster has a GPU."""
    return ray.cluster_resources().get("GPU", 0) > 0


def slots(device: str, gpus: float, cores: int = 1) -> int:
    """How many items run side by side on the nodes that are there now; none if none has room.

    Args:
        device: "cuda" or "cpu".
        gpus: Share of a GPU that each takes; below 1 several share one.
        cores: That each takes.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = 0
    for node in nodes:
        fit = int(node.get("CPU", 0)) // cores
        if device == "cuda":
            own = node.get("GPU", 0)
            fit = min(fit, int(own // gpus if gpus >= 1 else own * int(1 / gpus)))
        room += fit
    return room


def check_room(room: int, device: str, cores: int) -> None:
    """Returns if at least one item can run.

    Args:
        room: What `slots` found.
        device: "cuda" or "cpu".
        cores: That each takes.

    Raises:
        MachineError: There is no room for even one.
    """
    if room < 1:
        resources = ray.cluster_resources()
        what = "a trial" if cores == 1 else f"{cores} trials side by side"
        raise MachineError(
            f"Ray has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, "
            f"no room for {what} on {device}",
            fix="use --device cpu, lower --gpus-per-trial or --pack, or add nodes to the cluster",
        )


def _introduce(url: str | None, console: Console) -> None:
    if not url:
        return
    console.print(f"Ray dashboard: http://{url}", highlight=False, markup=False)
    if not access.disabled() and (token := access.token()):
        console.print(f"  it asks for a token: {token.source}", highlight=False, markup=False)


@contextlib.contextmanager
def _unwound_by_sigterm() -> Iterator[None]:
    """SIGTERM does in this context what Ctrl-C does, so that nothing is left behind.

    Ray puts a handler of its own in force once it has started.
    """
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is signal.default_int_handler:
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _temporary_files_in(folder: str | None) -> Iterator[None]:
    """Processes started in this context put theirs there, if a folder is named.

    Ray's dashboard makes folders that stay behind when Ray ends it.
    """
    before = os.environ.get("TMPDIR")
    if folder is not None:
        os.environ["TMPDIR"] = folder
    try:
        yield
    finally:
        os.environ.pop("TMPDIR", None)
        if before is not None:
            os.environ["TMPDIR"] = before


def _remove_late(folder: str) -> None:
    """Removes a folder in which processes that are about to end may still write.

    Cut off while it starts, Ray ends what it had started only as this process exits, without
    waiting.
    """
    for _ in range(LATE):
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(0.1)


def _short_folder() -> str:
    """A folder of this launch alone, whose path leaves room for the names of Ray's sockets."""
    folder = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="nas-sweep-", dir=folder if len(folder) < 24 else "/tmp")
