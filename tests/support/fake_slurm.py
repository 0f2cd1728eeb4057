"""`srun` and `scontrol` of a Slurm whose nodes are network namespaces of this machine.

As `srun` it runs a command on the hosts that its options choose out of FAKE_HOSTS, and passes
SIGTERM on; as `scontrol` it lists them, or notes the job that is to be requeued.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

NAMES = ("--nodes", "--ntasks", "--nodelist", "--exclude", "--kill-on-bad-exit")


def main(program: str, words: list[str]) -> int:
    hosts: dict[str, str] = json.loads(
        os.environ["FAKE_HOSTS"]
    )  # namespace by host's name, or empty
    if program == "scontrol":
        if words[:2] == ["show", "hostnames"]:
            assert words[2] == os.environ["SLURM_JOB_NODELIST"]
            print(*hosts, sep="\n")
        else:
            assert words == ["requeue", os.environ["SLURM_JOB_ID"]]
            Path(os.environ["FAKE_REQUEUED"]).touch()
        return 0
    options = dict(word.split("=", 1) for word in words if word.startswith(NAMES))
    command = words[next(i for i, word in enumerate(words) if not word.startswith("--")) :]
    chosen = options["--nodelist"].split(",") if "--nodelist" in options else [*hosts]
    chosen = [name for name in chosen if name not in options.get("--exclude", "").split(",")]
    assert len(chosen) == int(options["--nodes"]) == int(options["--ntasks"])
    started = []
    for name in chosen:
        # Each node has a disk of its own.
        own = {"RAY_TMPDIR": f"{os.environ['RAY_TMPDIR']}{name}"}
        there = ["ip", "netns", "exec", hosts[name]] if hosts[name] else []
        started.append(subprocess.Popen([*there, *command], env={**os.environ, **own}))

    def forward(signum: int, frame: FrameType | None) -> None:
        for process in started:
            process.send_signal(signum)

    signal.signal(signal.SIGTERM, forward)
    return max(process.wait() for process in started)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[0]).name, sys.argv[1:]))
