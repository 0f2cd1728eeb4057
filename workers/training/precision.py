"""The arithmetic of a trial: float32, TF32, or bfloat16 with weights and statistics in float32.

It is part of a trial's identity: a device that lacks it refuses, and nothing falls back.
"""

from __future__ import annotations

import contextlib

import torch

from results_schema.errors import MachineError

_AMPERE = (8, 0)
"""Compute capability of the first GPUs that have TF32 and bfloat16."""


def require(precision: str, device: torch.device) -> None:
    """Sees whether a device has a precision, one of `results_schema.trial.PRECISIONS`.

    Raises:
        MachineError: It has not.
    """
    if precision == "tf32" and device.type == "cpu":
        raise MachineError(
            "a CPU has no tf32", fix="train on a GPU, or name the trial with precision fp32 or bf16"
        )
    if precision == "fp32" or device.type == "cpu":
        return
    capability = torch.cuda.get_device_capability(device)
    if capability < _AMPERE:
        raise MachineError(
            f"{torch.cuda.get_device_name(device)} has no {precision}: its compute capability is "
            f"{capability[0]}.{capability[1]}",
            fix="use a GPU of 8.0 or newer, or name the trial with precision fp32",
        )


def allow(precision: str) -> None:
    """Lets a GPU's float32 convolutions and products round to TF32, or keeps them from it."""
    rounding = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = rounding
    torch.backends.cudnn.allow_tf32 = rounding


def arithmetic(precision: str, device: torch.device) -> contextlib.AbstractContextManager[object]:
    """The context that a forward pass runs in.

    Autocast keeps no copies of cast weights, which would outlive the step that a graph captures.
    """
    if precision != "bf16":
        return contextlib.nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)
