"""Ray, started on this machine or joined elsewhere, and the private folder of a launch.

Nothing that was started here outlives the launch, neither processes nor files. Where the driver
itself is killed, Ray's processes end by themselves, and the next launch removes the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib
import logging
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
import threading
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import ray
from ray.autoscaler.sdk import request_resources
from ray.exceptions import RayError
from rich.console import Console

from orchestrator.execution import access
from orchestrator.output.text import cores
from results_schema.errors import Interrupted, MachineError

VITAL = ("gcs_server", "raylet")
"""Processes without which a Ray that was started here can't continue."""
KILL_ROUNDS = 10
"""How often processes to be killed are looked for."""
PRELOADED = (
    "ray.tune",
    "orchestrator.execution.trainable",
    "workers.training.packing",
    "workers.program.training",
)
"""Modules that workers import as they start, rather than when they get their first item."""
MAX_BUNDLES = 1000
"""Items that an autoscaler is asked to place at once: it places them one by one."""

PREFIX = "nas-sweep-"
LOCK = "launch.lock"
"""File with the host's name: hosts may share a folder for temporary files, but not its locks."""
FALLBACK = "/tmp"
_TEMPORARY = "tmp"
"""Folder for temporary files of Ray's processes; its path in their environment identifies them."""
# psutil finds nothing to parse in an entry of /proc whose process is ending: IndexError.
_GONE = psutil.Error, IndexError
_DEEPEST = "/nas-sweep-12345678/1/session_2026-11-29_07-53-12_235402_1234567/sockets/plasma_store"
"""Ray's longest path in such a folder; a Unix socket's is bounded by 107 or 103 bytes."""
LONGEST = (107 if sys.platform == "linux" else 103) - len(_DEEPEST)


@dataclass(frozen=True)
class Joined:
    """A Ray that this process has joined."""

    folder: Path
    """Folder for temporary files of this launch; no other user can enter it."""
    vital: Mapping[str, psutil.Process] = field(default_factory=dict)
    """Processes of a Ray that was started here, by name."""

    def lost(self) -> str:
        """Return the name of a vital process that has died, an empty string if all live."""
        return next((name for name, one in self.vital.items() if not _alive(one)), "")


@contextlib.contextmanager
def cluster(
    address: str | None,
    console: Console,
    *,
    allow_open: bool = False,
    ship_code: bool = False,
    preload: bool = False,
) -> Iterator[Joined]:
    """Join Ray inside this context; what was started here leaves no process behind.

    Args:
        address: "auto" or HOST:PORT of a running cluster, checked by `access.admit`; None starts
            Ray on this machine.
        console: Where to print the dashboard's address.
        allow_open: Whether to join a cluster that asks for no token.
        ship_code: Whether nodes are to run this very code.
        preload: Whether each worker of a Ray that is started here is to import at its start what
            it runs: as many are started at once as there are cores.

    Raises:
        MachineError: Ray can't be started or reached, or asks for no token.
    """
    # A third of the time until the first trial is imports, here and in workers. Tune needs pandas.
    threading.Thread(target=importlib.import_module, args=("pandas",), daemon=True).start()
    if preload:
        os.environ.setdefault("RAY_preload_python_modules", ",".join(PRELOADED))
    with private_folder() as folder:
        started, joined = set[psutil.Process](), Joined(folder)
        try:
            if address is None:
                url = _start(folder)
                started = _processes(folder)
                vital = {name: one for one in started if (name := one.name()) in VITAL}
                joined = Joined(folder, vital)
            else:
                url = _join(address, folder, ship_code=ship_code)
                # Only now the head of `auto` is known.
                if not access.asks_for_token(ray.get_runtime_context().gcs_address):
                    access.refuse_open(f"--address {address}", allow_open=allow_open)
            if url:
                line = f"Ray dashboard: http://{url}"
                if not access.disabled() and (token := access.find_token()):
                    line += f"\n  it asks for a token: {token.source}"
                console.print(line, highlight=False, markup=False)
            yield joined
        finally:
            if joined.lost():
                _end_processes(folder, started)  # Ray would wait for the answer of what has died
            ray.shutdown()


def _join(address: str, folder: Path, *, ship_code: bool) -> str | None:
    """Connect to a running cluster; return its dashboard's address."""
    own: dict[str, Any] = {}
    if ship_code:
        from orchestrator.execution.jobs import pack_code  # torch, like all that workers run

        pack_code(folder / "code")
        own["runtime_env"] = {"working_dir": str(folder / "code")}
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


def _start(folder: Path, attempts: int = 2) -> str | None:
    """Start Ray in a folder, or leave nothing of it running and raise MachineError."""
    (folder / _TEMPORARY).mkdir(mode=0o700, exist_ok=True)
    # Ray's dashboard makes folders that stay behind when Ray ends it: they are made in ours.
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = str(folder / _TEMPORARY)
    try:
        # What Ray would log is in the exception too.
        with access.without_log_lines(logging.CRITICAL), _unwound_by_signals():
            context = ray.init(
                "local",
                logging_level=logging.ERROR,
                log_to_driver=False,
                num_cpus=cores(),
                include_dashboard=True,
                object_store_memory=200_000_000,  # items and rows are small
                # Ray gives this folder mode 0777, so that any user could replace its sockets; the
                # folder around it is closed to them.
                _temp_dir=str(folder / str(attempts)),
            )
        return context.dashboard_url
    except BaseException as error:
        _end_processes(folder)
        ray.shutdown()
        if not isinstance(error, Exception):
            raise
        if attempts > 1:  # a moment of overload may have passed
            return _start(folder, attempts - 1)
        last = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        raise MachineError(
            f"Ray can't be started on this machine, tried twice: {last}",
            fix="see whether the machine is overloaded or out of memory, then try again",
        ) from error
    finally:
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before


@contextlib.contextmanager
def _unwound_by_signals() -> Iterator[None]:
    """Make SIGTERM and SIGHUP raise here, so that nothing is left behind, and not end the process.

    Ray puts a SIGTERM handler of its own in force when it starts, which ends with this context.
    """
    taken = [signal.SIGTERM, signal.SIGHUP]
    taken = [each for each in taken if signal.getsignal(each) is not signal.SIG_IGN]
    before = {each: signal.signal(each, Interrupted.handle) for each in taken}
    # Processes that are started here inherit the mask and never get SIGHUP: where a terminal is
    # closed, workers are to commit first.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    try:
        yield
    except SystemExit as error:  # what Ray's handler raises, from when it is in force
        raise Interrupted(signal.SIGTERM) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except _GONE:
        return False


def _end_processes(folder: Path, known: Collection[psutil.Process] = ()) -> None:
    """Kill every process of the Ray that was started in this folder, orphans among them."""
    found = {*known, *_processes(folder)}
    for _ in range(KILL_ROUNDS):  # a process may start another one meanwhile
        for process in found:
            with contextlib.suppress(*_GONE):
                process.kill()
        psutil.wait_procs([*found], timeout=1)
        if not (found := _processes(folder)):
            return


def _processes(folder: Path) -> set[psutil.Process]:
    """Return the processes of the Ray that was started in this folder, whoever their parent is."""
    found, named = set[psutil.Process](), str(folder / _TEMPORARY)
    for pid in psutil.pids():
        with contextlib.suppress(*_GONE):
            process = psutil.Process(pid)
            if pid != os.getpid() and process.environ().get("TMPDIR") == named:
                found.add(process)
                # Agents that Ray starts overwrite their environment, but are the raylet's children.
                found |= {*process.children(recursive=True)}
    return {process for process in found if _alive(process)}


def has_gpus() -> bool:
    """Return whether any node of the cluster has a GPU."""
    return ray.cluster_resources().get("GPU", 0) > 0


def count_slots(takes: Mapping[str, float]) -> int:
    """Return how many items that take so much run side by side on the nodes that are there now."""
    share, slots = takes.get("GPU"), 0
    for node in (node["Resources"] for node in ray.nodes() if node["Alive"]):
        fit = int(node.get("CPU", 0) // takes["CPU"])
        if share:
            # Ray never splits a share over two GPUs: each holds a whole number of items.
            own = node.get("GPU", 0)
            fit = min(fit, int(own // share if share >= 1 else own * int(1 / share)))
        slots += fit
    return slots


def require_slots(takes: Mapping[str, float]) -> int:
    """Return `count_slots`; raise MachineError if no node is large enough for even one item."""
    slots = count_slots(takes)
    if slots < 1:
        resources = ray.cluster_resources()
        what = "a trial" if takes["CPU"] == 1 else f"{takes['CPU']:g} trials side by side"
        raise MachineError(
            f"Ray has {resources.get('CPU', 0):g} CPUs and {resources.get('GPU', 0):g} GPUs, "
            f"no room for {what} on {'cuda' if 'GPU' in takes else 'cpu'}",
            fix="use --device cpu, lower --gpus-per-trial or --pack, or add nodes to the cluster",
        )
    return slots


class Demand:
    """What an autoscaler, if the cluster has one, is asked to place, until the context's end."""

    def __init__(self) -> None:
        self._asked: list[dict[str, float]] = []

    def __enter__(self) -> Demand:
        return self

    def __exit__(self, *_: object) -> None:
        self.ask([])

    def ask(self, bundles: list[dict[str, float]]) -> None:
        """Ask for nodes on which all of these resources fit; for less, so that others may go."""
        # Without it, as no more items are offered than fit, the one that waits would make an
        # autoscaler add one node at a time. What is asked for stays asked for until it is less.
        bundles = bundles[:MAX_BUNDLES]
        if bundles != self._asked:
            with contextlib.suppress(RayError):  # `launch` notices a lost head
                request_resources(bundles=bundles)
                self._asked = bundles


@contextlib.contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder for temporary files with mode 0700, and remove it when the context is left.

    It is made in the folder for temporary files, or in `/tmp` if that one's path is too long for
    the sockets of Ray. Folders of dead launches are removed from both.
    """
    usual = tempfile.gettempdir()
    for place in {usual, FALLBACK}:
        remove_dead_folders(Path(place))
    fits = len(os.fsencode(usual)) <= LONGEST
    folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=usual if fits else FALLBACK))
    try:
        with _locked(folder):
            try:
                yield folder
            finally:
                _empty(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_dead_folders(place: Path) -> None:
    """Remove the folders that dead launches of this user on this host have left in a place."""
    with contextlib.suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX):
                with contextlib.suppress(OSError):
                    _remove_if_dead(Path(entry.path))


def _remove_if_dead(folder: Path) -> None:
    """Remove a folder with a lock file of this host that no process keeps locked."""
    # The system releases a lock with its process, so that neither a reused process id nor a folder
    # of another program can be mistaken for a dead launch's.
    about = folder.lstat()
    # A folder that others may write could have been filled by them.
    if not _is_ours(about, stat.S_IFDIR) or about.st_mode & 0o077:
        return
    with os.fdopen(os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)) as lock:
        ours = _is_ours(os.fstat(lock.fileno()), stat.S_IFREG)
        if not ours or lock.read() != socket.gethostname():
            return
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises OSError while its launch lives
        _empty(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _is_ours(about: os.stat_result, kind: int) -> bool:
    return stat.S_IFMT(about.st_mode) == kind and about.st_uid == os.getuid()


def _empty(folder: Path) -> None:
    """Remove everything but the lock, so that a removal that is cut off can be repeated."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                shutil.rmtree(entry.path, ignore_errors=True)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    staged = folder / f".{LOCK}"
    with staged.open("x") as lock:
        lock.write(socket.gethostname())
        lock.flush()
        # A file system without locks leaves the folder without a lock file: it is never removed by
        # another launch.
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            staged.rename(folder / LOCK)  # only now, when it is locked
        yield
