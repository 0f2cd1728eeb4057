"""The command line on a machine whose GPUs exist in name alone: Ray counts them, a CPU computes.

    python gpus_in_name.py GPUS launch …

Trials have their steps recorded as on a GPU, but for the graph.
"""

from __future__ import annotations

import sys
from typing import Any

CORES = 4
"""That Ray counts, so that items share a GPU, and don't wait for a core."""


def compute_on_cpu() -> None:
    """Let this process compute on its CPU what it is to compute on a GPU."""
    from workers.training import device, engine

    choose = device.choose

    def on_cpu(name: str | None = None, **settings: Any) -> Any:
        assert name == "cuda", name
        return choose("cpu", **settings)

    device.choose = on_cpu
    engine.default_mode = lambda device: "fixed"


def main() -> None:
    """Run a command, and end this process with its exit code."""
    gpus = int(sys.argv.pop(1))
    import ray

    from orchestrator.cli import main as cli
    from orchestrator.execution import preflight

    real = ray.init

    def init(*arguments: Any, **settings: Any) -> Any:
        hook = {"worker_process_setup_hook": "gpus_in_name.compute_on_cpu"}
        return real(
            *arguments, **settings | {"num_cpus": CORES, "num_gpus": gpus, "runtime_env": hook}
        )

    ray.init = init
    preflight.local_gpus = lambda: gpus
    cli.main()


if __name__ == "__main__":
    main()
