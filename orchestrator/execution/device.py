"""On what trials run when nobody says: on a GPU, or on a CPU that a profile made enough."""

from __future__ import annotations

from orchestrator.output.text import cores
from orchestrator.planning.estimate import Speeds, format_duration
from orchestrator.planning.plan import Plan
from results_schema.errors import MachineError


def choose_device(plan: Plan, gpu: bool, cpu_will_do: bool) -> str:
    """Says "cuda" or "cpu".

    Args:
        plan: Tells how long a CPU would take.
        gpu: Whether there is one.
        cpu_will_do: Whether a profile made the experiments small enough for one.

    Raises:
        MachineError: There is no GPU, and the experiments are meant for one.
    """
    if gpu or cpu_will_do:
        return "cuda" if gpu else "cpu"
    raise MachineError(
        "there is no GPU, and on this machine's CPU this would take "
        + format_duration(Speeds().total_seconds(plan.work, "cpu"), "cpu", cores()),
        fix="add --profile laptop for a small version, --device cpu to do it all the same, or "
        "--address to use a Ray cluster that has GPUs",
    )


def check_precision(plan: Plan, device: str) -> None:
    """Sees whether a kind of device has the arithmetic of what is owed; a GPU may lack it still.

    Raises:
        MachineError: It has not.
    """
    if device == "cpu" and any(spec.precision == "tf32" for spec in plan.remaining):
        raise MachineError(
            "trials of precision tf32 are owed, which a CPU has not",
            fix="train them on a GPU, or use --set precision=fp32",
        )


def local_gpus() -> int:
    """How many GPUs torch sees on this machine."""
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
