"""Trials that share a device: k processes against k threads of one process, images a second in all.

    python benchmarks/packing.py [--device cuda] [--most 4] [--cells 20 --channels 36] [--steps 100]

Processes are measured without NVIDIA's MPS, and with it where `nvidia-cuda-mps-control` exists.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier

from results_schema.trial import NetworkSpec, Recipe, TrialSpec
from workers.cells.bases import named
from workers.data.catalog import describe
from workers.training import device as devices
from workers.training.packing import PackSpeed, measure_pack

MPS = "nvidia-cuda-mps-control"


def main() -> None:
    """Measures and prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", help="cuda or cpu (default: a GPU if there is one)")
    parser.add_argument("--dataset", default="digits")
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--cells", type=int, default=5)
    parser.add_argument("--channels", type=int, default=4)
    parser.add_argument("--batch", type=int, default=80)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--most", type=int, default=4)
    options = parser.parse_args()
    spec = TrialSpec(
        named("DARTS"),
        options.dataset,
        describe(options.dataset).preprocessing,
        NetworkSpec(options.cells, options.channels),
        Recipe(epochs=2, batch_size=options.batch),
        0.025,
        0,
        options.precision,
    )
    device = devices.choose(options.device)
    print(f"{devices.name(device)}, {spec.network}, {spec.dataset}, {spec.precision}\n")
    print("| trials | way | images/s in all | to one alone |\n| --- | --- | --- | --- |")
    alone = in_processes(spec, 1, device.type, options.steps).images_per_second
    mps = device.type == "cuda" and shutil.which(MPS) is not None
    for trials in range(1, options.most + 1):
        show(in_threads(spec, trials, device.type, options.steps), "threads", alone)
        show(in_processes(spec, trials, device.type, options.steps), "processes", alone)
        if mps:
            with served():
                rung = in_processes(spec, trials, device.type, options.steps)
            show(rung, "processes, MPS", alone)


def show(rung: PackSpeed, way: str, alone: float) -> None:
    """Prints a line of the table."""
    speed = rung.images_per_second
    print(f"| {rung.trials} | {way} | {speed:,.0f} | {speed / alone:.2f} |", flush=True)


def in_threads(spec: TrialSpec, trials: int, device: str, steps: int) -> PackSpeed:
    """A pack, in a fresh process."""
    return _gathered([(spec, trials)], device, steps)[0]


def in_processes(spec: TrialSpec, trials: int, device: str, steps: int) -> PackSpeed:
    """As many processes, each with one trial; they are timed together."""
    rungs = _gathered([(spec, 1)] * trials, device, steps)
    slowest = min(rung.images_per_second for rung in rungs)
    return PackSpeed(trials, trials * slowest, max(rung.memory for rung in rungs))


def _gathered(packs: list[tuple[TrialSpec, int]], device: str, steps: int) -> list[PackSpeed]:
    processes = multiprocessing.get_context("spawn")
    with processes.Manager() as manager:
        warm, rungs = processes.Barrier(len(packs)), manager.list()
        running = [
            processes.Process(target=_measure, args=(spec, trials, device, steps, warm, rungs))
            for spec, trials in packs
        ]
        for process in running:
            process.start()
        for process in running:
            process.join()
        if len(rungs) < len(packs):
            raise SystemExit(f"{len(packs) - len(rungs)} of {len(packs)} processes failed")
        return [PackSpeed(*rung) for rung in rungs]


def _measure(
    spec: TrialSpec, trials: int, device: str, steps: int, warm: Barrier, rungs: list[PackSpeed]
) -> None:
    try:
        found = measure_pack(spec, trials, device=device, steps=steps, start=lambda: _wait(warm))
    except BaseException:
        warm.abort()
        raise
    rungs.append(found)


def _wait(warm: Barrier) -> None:
    warm.wait()


@contextlib.contextmanager
def served() -> Iterator[None]:
    """Within it processes started from here share a GPU by way of an MPS server of their own."""
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ.update(own)
        subprocess.run([MPS, "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run([MPS], input="quit\n", text=True, check=False)
            for name in own:
                del os.environ[name]


if __name__ == "__main__":
    main()
