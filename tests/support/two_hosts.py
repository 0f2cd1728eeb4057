"""Two hosts on one machine: network namespaces with a cable between them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

S3_PORT = 9000
"""Of the head, on which an S3 server listens while a test wants one."""

LISTENING = """
import json, psutil
found = {}
for one in psutil.net_connections("inet"):
    if one.status == psutil.CONN_LISTEN:
        found.setdefault(one.laddr.port, []).append(one.laddr.ip)
print(json.dumps(found))
"""


class Host(NamedTuple):
    """A network namespace.

    Attributes:
        name: Of the namespace.
        address: Of its one interface beside the loopback.
    """

    name: str
    address: str

    def command(self, *words: str) -> list[str]:
        """A command as one that is run on this host."""
        return ["ip", "netns", "exec", self.name, *words]

    def run(
        self, *words: str, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs a command on this host, its output kept."""
        return subprocess.run(
            self.command(*words),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=500,
            env={**os.environ, **environment},
        )

    def listening(self) -> dict[int, set[str]]:
        """Every port on which anything listens on this host, with the addresses."""
        done = self.run(sys.executable, "-c", LISTENING)
        return {int(port): set(addresses) for port, addresses in json.loads(done.stdout).items()}


class Nodes(NamedTuple):
    """Both hosts, on each of which a node runs, and their environment."""

    head: Host
    worker: Host
    environment: dict[str, str]


def missing() -> str:
    """Why there can be none on this machine, or empty."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if not shutil.which("ip"):
        return "network namespaces need iproute2"
    tried = f"ns{os.getpid()}try"
    if subprocess.run(["ip", "netns", "add", tried], capture_output=True).returncode:
        return "network namespaces are not allowed here"
    subprocess.run(["ip", "netns", "del", tried], check=True)
    return ""


@contextlib.contextmanager
def two_hosts() -> Iterator[tuple[Host, Host]]:
    """The first is known to both by the name `head`; all is gone at the end."""
    start = f"ns{os.getpid()}"
    hosts = Host(f"{start}a", "10.231.0.1"), Host(f"{start}b", "10.231.0.2")
    folders = [Path("/etc/netns", host.name) for host in hosts]
    try:
        for host, folder in zip(hosts, folders, strict=True):
            _ip("netns", "add", host.name)
            folder.mkdir(parents=True)
            (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts[0].address} head\n")
            # Nobody answers there, at once: gRPC asks for names that the file has, too.
            (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        ends = f"{start}x", f"{start}y"
        _ip("link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for host, end in zip(hosts, ends, strict=True):
            _ip("link", "set", end, "netns", host.name)
            for device in ("lo", end):
                _ip("-netns", host.name, "link", "set", device, "up")
            _ip("-netns", host.name, "address", "add", f"{host.address}/24", "dev", end)
            # By the way to the world Ray tells which address is its own.
            _ip("-netns", host.name, "route", "add", "default", "dev", end)
        yield hosts
    finally:
        for host, folder in zip(hosts, folders, strict=True):
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True)
            shutil.rmtree(folder, ignore_errors=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)
