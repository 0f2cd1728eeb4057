"""The device that a trial runs on, set up so that only the spec decides the arithmetic."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from results_schema.errors import MachineError
from workers import origin
from workers.training import precision as precisions


def choose(
    name: str | None = None, *, deterministic: bool = False, precision: str = "fp32"
) -> torch.device:
    """Return the device of a name, or by default a GPU if there is one, ready for a precision.

    With `deterministic` every kernel of a GPU must give the same bits again; one that can't raises
    an error. A CPU does so anyway, at its one thread.

    Raises:
        MachineError: A GPU was asked for and there is no GPU, the name means nothing, or the device
            lacks the precision.
    """
    # Read when CUDA starts: with the default of 8, streams of a pack wait for one another.
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "32")
    try:
        device = torch.device(name or ("cuda" if torch.cuda.is_available() else "cpu"))
    except RuntimeError as error:
        raise MachineError(f"unknown device {name!r}", fix="use cuda, cuda:N or cpu") from error
    if device.type not in ("cuda", "cpu"):
        raise MachineError(f"{name!r} is not supported", fix="use cuda, cuda:N or cpu")
    deterministic = deterministic and device.type == "cuda"
    # torch.use_deterministic_algorithms would import the compiler, which takes seconds. The mode
    # would fill every new tensor, hundreds of kernels a step, though nothing reads one unwritten.
    torch.set_deterministic_debug_mode("error" if deterministic else "default")
    torch.backends.cudnn.deterministic = deterministic
    setattr(torch.utils.deterministic, "fill_uninitialized_memory", False)  # noqa: B010
    if device.type == "cpu":
        torch.set_num_threads(1)  # more threads give other bits
    elif not torch.cuda.is_available():
        raise MachineError("no CUDA GPU is visible", fix="use --device cpu, or repair the driver")
    elif (device.index or 0) >= torch.cuda.device_count():
        last = torch.cuda.device_count() - 1
        raise MachineError(f"there is no {device}", fix=f"use cuda:0 to cuda:{last}")
    precisions.check_supported(precision, device)
    if deterministic:  # read when cuBLAS starts
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if device.type == "cuda":
        precisions.set_tf32(precision)
        torch.backends.cudnn.benchmark = not deterministic  # which picks kernels by timing
    return device


@contextlib.contextmanager
def own_stream(device: torch.device) -> Iterator[None]:
    """Let what this thread does on a GPU within the context wait for no other thread's work."""
    with contextlib.ExitStack() as stack:
        if device.type == "cuda":
            stack.enter_context(torch.cuda.stream(torch.cuda.Stream(device)))
            # Otherwise one thread a GPU would run all backward passes of the process, in turn.
            stack.enter_context(torch.autograd.set_multithreading_enabled(False))
        yield


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def name(device: torch.device) -> str:
    """Return the GPU's or processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def peak_memory(device: torch.device) -> int:
    """Return the most bytes in use so far: of the GPU by this process, or resident in memory."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # macOS counts in bytes


def provenance(device: torch.device) -> dict[str, Any]:
    """Return where and with what a row was computed: it explains rounding, and is no identity."""
    cudnn = torch.backends.cudnn.version() if torch.backends.cudnn.is_available() else None
    return {
        "host": socket.gethostname(),
        "device": name(device),
        "gpu": device.type == "cuda",
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cudnn": None if cudnn is None else str(cudnn),
        "ray": origin.version("ray") if "ray" in sys.modules else None,
        **origin.code_origin(),
    }
