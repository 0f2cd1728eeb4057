"""Ray, started on this machine or joined elsewhere, and how to open its dashboard."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from rich.console import Console

from orchestrator.execution import access, scratch, shipping
from orchestrator.output.text import cores
from results_schema.errors import MachineError

VITAL = ("gcs_server", "raylet")
"""Processes without which a Ray that was started here can do nothing more."""
ROUNDS = 10
"""How often processes to be killed are looked for."""
ASK_EVERY = 5.0
"""Seconds between two requests to an autoscaler."""
MOST = 1000
"""Items that an autoscaler is asked to find room for at once: it packs them one by one."""
_TEMPORARY = "tmp"
"""Folder of the temporary files of Ray's processes; by its path in their environment they are
found."""


@dataclass(frozen=True)
class Joined:
    """A Ray that this process has joined.

    Attributes:
        folder: For temporary files of this launch; no other user can enter it.
        vital: Processes of a Ray that was started here, by name.
    """

    folder: Path
    vital: Mapping[str, psutil.Process] = field(default_factory=dict)

    def lost(self) -> str:
        """Return the name of a vital process that has died, an empty string if all live."""
        return next((name for name, one in self.vital.items() if not _alive(one)), "")


@contextlib.contextmanager
def cluster(
    address: str | None, console: Console, *, allow_open: bool = False, ship_code: bool = False
) -> Iterator[Joined]:
    """Join Ray inside this context; what was started here leaves no process behind.

    Args:
        address: "auto" or HOST:PORT of a running cluster, which `access.admit` has looked at; None
            starts Ray on this machine.
        console: Where to print the dashboard's address.
        allow_open: Whether a cluster that asks for no token will do.
        ship_code: Whether nodes are to run this very code, whatever they have.

    Raises:
        MachineError: Ray can't be started or reached, or asks for no token.
    """
    with scratch.scratch() as folder, contextlib.ExitStack() as stack:
        if address is None:
            url, joined = stack.enter_context(_own_ray(folder))
        else:
            stack.callback(ray.shutdown)
            url, joined = _join(address, folder, ship_code=ship_code), Joined(folder)
            if not access.asks(ray.get_runtime_context().gcs_address):
                access.refuse_open(f"--address {address}", allow_open=allow_open)
        _introduce(url, console)
        yield joined


def _join(address: str, folder: Path, *, ship_code: bool) -> str | None:
    """Connect to a running cluster; return its dashboard's address."""
    own: dict[str, Any] = {}
    if ship_code:
        code = folder / "code"
        code.mkdir()
        shipping.pack_code(code)
        own["runtime_env"] = {"working_dir": str(code)}
    try:
        with _unwound_by_signals():
            context = ray.init(address, logging_level=logging.ERROR, log_to_driver=False, **own)
    except Exception as error:
        raise MachineError(
            f"Ray can't be reached: {error}",
            where=address,
            fix="check --address; without it Ray is started on this machine",
        ) from error
    return context.dashboard_url


@contextlib.contextmanager
def _own_ray(folder: Path) -> Iterator[tuple[str | None, Joined]]:
    """Run Ray on this machine, in a private folder; yield its dashboard's address too.

    Ray gives its folder mode 0777, so that any user could replace its sockets: it is put inside a
    folder that nobody else can enter.

    Raises:
        MachineError: It could not be started.
    """
    (folder / _TEMPORARY).mkdir(mode=0o700)
    try:
        url = _start(folder, "1")
    except MachineError:
        url = _start(folder, "2")  # once more: what was slow may have passed
    started = _processes(folder)
    joined = Joined(folder, {name: one for one in started if (name := one.name()) in VITAL})
    try:
        yield url, joined
    finally:
        if joined.lost():
            _end_processes(folder, started)  # Ray would wait for the answer of what has died
        ray.shutdown()


def _start(folder: Path, name: str) -> str | None:
    """Start Ray in a folder of this name; return its dashboard's address.

    Raises:
        MachineError: It could not be started. Nothing of it is left running.
    """
    before = logging.root.manager.disable
    try:
        with _unwound_by_signals(), _temporary_files_in(folder / _TEMPORARY):
            logging.disable(logging.CRITICAL)  # what matters is in the exception
            context = ray.init(
                "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                num_cpus=cores(),
                include_dashboard=True,
                object_store_memory=200_000_000,  # items and rows are small
                _temp_dir=str(folder / name),
            )
        return context.dashboard_url
    except BaseException as error:
        _end_processes(folder)
        ray.shutdown()
        if not isinstance(error, Exception):
            raise
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise MachineError(
            f"Ray can't be started on this machine, tried twice: {last}",
            fix="see whether the machine is overloaded or out of memory, then try again",
        ) from error
    finally:
        logging.disable(before)


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


class Demand:
    """Asks the cluster's autoscaler, if it has one, for nodes on which all that is left fits.

    A waiting item alone makes it add one node at a time, as no more are offered than fit. What is
    asked for stays asked for until it is asked for less: `end` takes it back.

    Args:
        count: Returns how many items of each kind are left, by what one of the kind takes.
    """

    def __init__(self, count: Callable[[], Iterable[tuple[Mapping[str, float], int]]]) -> None:
        self._count = count
        self._asked: list[dict[str, float]] = []
        self._again = 0.0

    def refresh(self) -> None:
        """Ask for less as items end, so that nodes that are no longer needed may go."""
        now = time.monotonic()
        if now >= self._again:
            self._again = now + ASK_EVERY
            each = ([dict(takes)] * number for takes, number in self._count())
            self._ask([*itertools.islice(itertools.chain(*each), MOST)])

    def end(self) -> None:
        """Need nothing any more."""
        self._ask([])

    def _ask(self, bundles: list[dict[str, float]]) -> None:
        if bundles != self._asked:
            with contextlib.suppress(RayError):  # a lost head is noticed elsewhere
                request_resources(bundles=bundles)
                self._asked = bundles


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
def _unwound_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise KeyboardInterrupt here, so that nothing is left behind.

    Ray puts a SIGTERM handler of its own in force once it has started. Processes that are started
    in this context never get SIGHUP: where a terminal is closed, workers are to commit first.
    """
    taken = [signal.SIGTERM, signal.SIGHUP]
    taken = [each for each in taken if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, signal.default_int_handler) for each in taken}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for signum, handler in before.items():
            if signal.getsignal(signum) is signal.default_int_handler:
                signal.signal(signum, handler)


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """Make processes that are started in this context put their temporary files there.

    Ray's dashboard makes folders that stay behind when Ray ends it.
    """
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR", None)
        if before is not None:
            os.environ["TMPDIR"] = before


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _end_processes(folder: Path, known: Collection[psutil.Process] = ()) -> None:
    """Kill every process of the Ray that was started in this folder, orphans among them.

    Args:
        folder: Of this launch.
        known: Processes that belong to it.
    """
    found = {*known, *_processes(folder)}
    for _ in range(ROUNDS):  # a process may start another one meanwhile
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs([*found], timeout=1)
        if not (found := _processes(folder)):
            return


def _processes(folder: Path) -> set[psutil.Process]:
    """Return the processes of the Ray that was started in this folder, whoever their parent is.

    Agents that Ray starts on a node overwrite their environment, but are children of the raylet.
    """
    found, named = set[psutil.Process](), str(folder / _TEMPORARY)
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get("TMPDIR") == named:
                found |= {process, *process.children(recursive=True)}
    return {process for process in found if _alive(process)}
