"""The head of a Ray cluster, started as the documents start it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, NamedTuple

import psutil
from marks import children
from sweeps import Pace, finish, started

TOKEN = "5e" * 32
_LOCKS: list[IO[str]] = []


def free_ports(count: int) -> int:
    """The first of so many neighbouring ports, at most 100, that no other test takes meanwhile."""
    taken = {c.laddr.port for c in psutil.net_connections("inet") if c.laddr}
    for start in range(20000, 30000, 100):
        if not any(port in taken for port in range(start, start + count)):
            lock = Path("/tmp", f"nas-sweep-ports-{start}.lock").open("w")  # noqa: SIM115
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _LOCKS.append(lock)  # until this process ends
                return start
            lock.close()
    raise AssertionError("no ports are free")


def ray_start(*options: str) -> list[str]:
    """The command, of the environment that runs the tests."""
    return [sys.executable, "-m", "ray.scripts.scripts", "start", *options]


@contextlib.contextmanager
def running(
    command: Sequence[str], ready: Callable[[], bool], **environment: str
) -> Iterator[psutil.Process]:
    """A node of a cluster, in the foreground; it and all that it started are gone at the end.

    Args:
        command: `ray start … --block`, which lacks a head's folder for temporary files.
        ready: Whether it is up.
        environment: On top of this process's own.
    """
    # Ray's sockets need a short path.
    folder = tempfile.mkdtemp(prefix="ns-", dir="/tmp")
    log = Path(folder, "log")
    own = ["--temp-dir", folder] if "--head" in command else []
    with log.open("w") as output:
        node = psutil.Popen(
            [*command, *own],
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0", **environment},
        )
    started = set[psutil.Process]()
    try:
        end = time.monotonic() + 200
        while not ready():
            assert node.is_running() and time.monotonic() < end, log.read_text()
            time.sleep(0.3)
        started = children(node)
        yield node
    finally:
        for process in {*started, *children(node), node}:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)
        node.wait()
        shutil.rmtree(folder, ignore_errors=True)


def answers(url: str) -> bool:
    """Whether a health check says yes."""
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return reply.status == 200
    except OSError:
        return False


class Head(NamedTuple):
    """A head on this machine.

    Attributes:
        port: Of its GCS; the dashboard listens two ports on.
        folder: Of its temporary files.
    """

    port: int
    folder: Path

    @property
    def address(self) -> str:
        """HOST:PORT, to join it by."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        """The dashboard's address."""
        return f"http://127.0.0.1:{self.port + 2}"


@contextlib.contextmanager
def small_head(folder: Path, **environment: str) -> Iterator[Head]:
    """A head with two cores on free ports of the loopback, at home in a folder."""
    port = free_ports(60)
    options = {
        "port": port,
        "node-manager-port": port + 1,
        "dashboard-port": port + 2,
        "dashboard-agent-listen-port": port + 3,
        "ray-client-server-port": port + 4,
        "min-worker-port": port + 10,
        "max-worker-port": port + 50,
        "node-ip-address": "127.0.0.1",
        "dashboard-host": "127.0.0.1",
        "num-cpus": 2,
        "object-store-memory": 100_000_000,
    }
    command = ray_start(
        "--head", "--block", *(f"--{name}={value}" for name, value in options.items())
    )
    ready = f"http://127.0.0.1:{port + 2}/api/gcs_healthz"
    with running(command, lambda: answers(ready), HOME=str(folder), **environment) as node:
        words = node.cmdline()
        yield Head(port, Path(words[words.index("--temp-dir") + 1]))


class OnHead:
    """The command `launch` on the CPUs of a head that runs already.

    Attributes:
        options: Options of the command.
        environment: Variables that the command needs.
        folder: Folder of the head's temporary files.
        pace: Holds its workers.
    """

    def __init__(self, head: Head, pace: Pace) -> None:
        self.pace = pace
        self.options = ("--device", "cpu", "--address", head.address)
        self.folder = head.folder
        self.environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN}

    def started(
        self, *arguments: object, command: str = "launch", **environment: str
    ) -> AbstractContextManager[subprocess.Popen[str]]:
        """Start a launch; it is gone at the end of the context."""
        return started(command, *self.options, *arguments, **self.environment, **environment)

    def launch(
        self, *arguments: object, command: str = "launch", **environment: str
    ) -> tuple[int, str]:
        """Return the exit code and the output of a launch that has ended."""
        with self.started(*arguments, command=command, **environment) as process:
            return finish(process)
