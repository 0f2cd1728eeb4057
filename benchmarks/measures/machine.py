"""What a measurement was made on, with and by, so that it can be made again."""

from __future__ import annotations

import os
import platform
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import torch

from workers.training import device as devices


@dataclass(frozen=True)
class Machine:
    """Of one run of a benchmark.

    Attributes:
        device: Name of the GPU or the processor.
        kind: "cuda" or "cpu".
        threads: That torch computes with on the CPU.
        cores: That this process may use.
        load: Mean number of processes that wanted a core in the last minute, this one's among them.
        versions: Of Python, torch, CUDA and cuDNN.
        date: Day, in UTC.
        command: That was typed.
    """

    device: str
    kind: str
    threads: int
    cores: int
    load: float
    versions: dict[str, str]
    date: str
    command: str

    @classmethod
    def of(cls, device: torch.device) -> Machine:
        """This machine, now."""
        versions = {"Python": platform.python_version(), "torch": torch.__version__}
        if device.type == "cuda":
            versions |= {"CUDA": str(torch.version.cuda)}
            versions |= {"cuDNN": str(torch.backends.cudnn.version())}
        script = os.path.relpath(sys.argv[0]) if Path(sys.argv[0]).exists() else sys.argv[0]
        return cls(
            devices.name(device),
            device.type,
            torch.get_num_threads(),
            # A bare machine has no part of the orchestrator, and macOS no affinity.
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1,
            os.getloadavg()[0],
            versions,
            datetime.now(UTC).date().isoformat(),
            shlex.join(["python", script, *sys.argv[1:]]),
        )

    def sentence(self) -> str:
        """All of it, for the reader of a table."""
        versions = ", ".join(f"{name} {version}" for name, version in self.versions.items())
        threads = "" if self.kind == "cuda" else f", {self.threads} thread(s) a network"
        cores = f"{self.cores} CPU cores under a load of {self.load:.1f}"
        return f"{self.device}, {cores}{threads}; {versions}; {self.date}; `{self.command}`"
