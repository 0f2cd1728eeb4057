"""A cluster of several real nodes on this machine: some join late, some are killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
from marks import Mark, children
from ray_heads import TOKEN, answers, free_ports, ray_start

_QUICK = {
    # Of the head: a node whose raylet answers no more is declared dead within some seconds.
    "RAY_health_check_initial_delay_ms": "2000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "5000",
    "RAY_health_check_failure_threshold": "3",
    # Of a driver: it gives up a head that is gone.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "10",
}


EMPTY = 'mount -t tmpfs none "$0" && exec "$@"'
"""Hides what is in a folder from a command that has a mount namespace of its own."""


class Node(NamedTuple):
    """A node that was started.

    Attributes:
        process: Of `ray start`, in the foreground.
        log: What it printed.
    """

    process: psutil.Popen
    log: Path

    @property
    def raylet(self) -> psutil.Process:
        """The process that makes it one."""
        return next(p for p in children(self.process) if p.name() == "raylet")


class Cluster:
    """Nodes of one cluster, known by a mark that all of their processes inherit.

    Attributes:
        port: Of the head; the dashboard's is two on.
        environment: Of every node, and of whoever joins.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_ports(60)
        self._started: list[Node] = []
        self._mark = Mark("CLUSTER")
        self.environment = (
            _QUICK
            | self._mark.environment
            | {
                "RAY_AUTH_MODE": "token",
                "RAY_AUTH_TOKEN": TOKEN,
                "RAY_USAGE_STATS_ENABLED": "0",
                # Under `uv run` a head would pack its current folder for each job.
                "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
                "HOME": str(folder),
                "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            }
        )

    @property
    def address(self) -> str:
        """HOST:PORT of the head."""
        return f"127.0.0.1:{self.port}"

    @property
    def dashboard(self) -> str:
        """URL of the page, which takes jobs too."""
        return f"http://127.0.0.1:{self.port + 2}"

    def head(self, cpus: int = 0) -> Node:
        """Starts the head with so many cores; again on the same ports if it was killed."""
        options = {
            "port": self.port,
            "node-manager-port": self.port + 1,
            "dashboard-port": self.port + 2,
            "dashboard-agent-listen-port": self.port + 3,
            "ray-client-server-port": self.port + 4,
            "dashboard-host": "127.0.0.1",
            "num-cpus": cpus,
            "temp-dir": self.folder / "ray",
        }
        words = ["--head", *(f"--{name}={value}" for name, value in options.items())]
        return self._start(words, {}, lambda _: answers(f"{self.dashboard}/api/gcs_healthz"))

    def join(
        self, *options: str, cpus: int = 1, lacking: Path | None = None, **environment: str
    ) -> Node:
        """Starts a node with so many cores, to which a folder is empty; returns when it has joined.

        Only root can make a node that lacks a folder.
        """
        port = self.port + 10 + len(self._started) % 40
        words = [f"--address={self.address}", f"--num-cpus={cpus}", *options]
        words.append(f"--dashboard-agent-listen-port={port}")
        return self._start(
            words,
            environment,
            lambda node: "Ray runtime started" in node.log.read_text(),
            before=("unshare", "--mount", "sh", "-c", EMPTY, str(lacking)) if lacking else (),
        )

    def kill(self, node: Node) -> None:
        """Takes a node's raylet away by SIGKILL; its workers are left as orphans."""
        raylet = node.raylet
        node.process.kill()  # which would end the workers in an orderly way
        raylet.kill()
        node.process.wait()

    def alive(self) -> list[psutil.Process]:
        """All processes of its nodes, and of whoever has its environment."""
        return self._mark.alive()

    def clear(self) -> None:
        """Ends every process of it."""
        while found := self.alive():
            for process in found:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            for node in self._started:
                node.process.wait()
            psutil.wait_procs(found, timeout=10)

    def _start(
        self,
        words: list[str],
        environment: dict[str, str],
        ready: Callable[[Node], bool],
        before: Sequence[str] = (),
    ) -> Node:
        words += [
            "--node-ip-address=127.0.0.1",
            "--object-store-memory=80000000",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--block",
        ]
        log = self.folder / f"{uuid.uuid4().hex[:8]}.log"
        with log.open("w") as output:
            process = psutil.Popen(
                [*before, *ray_start(*words)],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={**os.environ, **self.environment, **environment},
            )
        node, end = Node(process, log), time.monotonic() + 200
        self._started.append(node)
        while not ready(node):
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        return node


@contextlib.contextmanager
def cluster_of_nodes(cpus: int = 0) -> Iterator[Cluster]:
    """A head alone (`Cluster.head`), which others can join; all is gone at the end.

    Two nodes of a machine unpack what a job brings along into one folder, one under the other's
    feet: a job needs a head with cores and no other node.
    """
    # Ray's sockets need a short path.
    cluster = Cluster(Path(tempfile.mkdtemp(prefix="nsn-", dir="/tmp")))
    try:
        cluster.head(cpus)
        yield cluster
    finally:
        cluster.clear()
        shutil.rmtree(cluster.folder, ignore_errors=True)
