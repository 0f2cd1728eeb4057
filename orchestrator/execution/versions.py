"""Whether a node's worker runs what the launch runs: Python, Ray, torch, and this very code.

A release's number says little of a checkout and a commit nothing of an image, so the code that
workers run is compared by its bytes; release and commit are told beside it.
"""

from __future__ import annotations

import hashlib
import platform
import socket
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import metadata
from pathlib import Path

from results_schema.errors import MachineError
from workers.training import device

BRIDGE = ("trainable", "versions")
"""Modules of this package that a worker runs; beside them it runs all of the lower packages."""
_LOWER = ("results_schema", "workers")
_DIGITS = 10


@dataclass(frozen=True)
class Versions:
    """What a process runs.

    Attributes:
        python: Such as "3.12"; what differs behind that changes nothing that is sent or trained.
        ray: Its release.
        torch: Its release, without the kind of its build, such as "+cpu".
        code: The beginning of the SHA-256 of the code that workers run.
        release: Of nas-sweep.
        commit: The beginning of the checkout's, or empty; with a "+" if files differ from it.
    """

    python: str
    ray: str
    torch: str
    code: str
    release: str
    commit: str

    @property
    def ours(self) -> str:
        """What is told of nas-sweep itself."""
        commit = f"commit {self.commit}, " if self.commit else ""
        return f"nas-sweep {self.release} ({commit}code {self.code})"


@lru_cache
def here() -> Versions:
    """Of this process; found out once, within some hundredths of a second."""
    about = device.code_origin()
    commit = (about["commit"] or "")[:_DIGITS]
    return Versions(
        python=".".join(platform.python_version_tuple()[:2]),
        ray=_release("ray"),
        torch=_release("torch").partition("+")[0],
        code=digest(Path(__file__).parents[2]),
        release=about["release"],
        commit=commit + "+" * bool(commit and about["dirty"]),
    )


def told() -> dict[str, str]:
    """Of this process, in a form that a worker of any release can read."""
    return asdict(here())


def refusal(launch: dict[str, str]) -> str:
    """Why this worker can't work for a launch: it runs something else. Empty if it does not.

    Args:
        launch: What `told` gave in the launch's own process.
    """
    return difference(here(), Versions(**launch), socket.gethostname())


def difference(node: Versions, launch: Versions, host: str) -> str:
    """What a node has and what the launch has, where they differ, and how to mend it.

    Args:
        node: What a worker there runs.
        launch: What the launch runs.
        host: The node's name.
    """
    pairs = [
        (f"{word} {getattr(node, name)}", f"{word} {getattr(launch, name)}")
        for name, word in (("python", "Python"), ("ray", "Ray"), ("torch", "torch"))
        if getattr(node, name) != getattr(launch, name)
    ]
    fix = "install the same on every node, or launch from an environment like the nodes'"
    if node.code != launch.code:
        if not pairs:
            fix = "install the same nas-sweep there, or add --ship-code, which sends this one along"
        pairs.append((node.ours, launch.ours))
    if not pairs:
        return ""
    found, expected = (" and ".join(side) for side in zip(*pairs, strict=True))
    what = f"it has {found}, and this launch has {expected}"
    return str(MachineError(what, where=f"node {host}", fix=f"{fix} (docs/cluster.md)"))


def digest(root: Path) -> str:
    """Of the code that workers run, below the folder that holds the packages."""
    files = [root / "orchestrator/execution" / f"{name}.py" for name in BRIDGE]
    for package in _LOWER:
        files += (p for p in (root / package).rglob("*") if p.suffix in (".py", ".json"))
    named = {path.relative_to(root).as_posix(): path for path in files}
    found = hashlib.sha256()
    for name in sorted(named):
        if "/." in name:  # what editors leave, which does not go along
            continue
        content = named[name].read_bytes()
        found.update(f"{name} {len(content)}\n".encode() + content)
    return found.hexdigest()[:_DIGITS]


def _release(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "of unknown release"
