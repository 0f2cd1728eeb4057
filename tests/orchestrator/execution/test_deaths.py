"""Deaths of workers told apart, by the errors that Ray raises for them."""

import pytest
import torch
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from orchestrator.execution.deaths import classify
from orchestrator.execution.queue import ATTEMPTS, PASSING
from results_schema.errors import MachineError, StoreError, StoreFull


def raised(cause: Exception) -> RayTaskError:
    """What Ray makes of an exception in a worker."""
    told = f"{type(cause).__module__}.{type(cause).__name__}".removeprefix("builtins.")
    text = f"\x1b[36mray::x()\x1b[39m (pid=7, ip=10.0.0.1)\n  File x\n{told}: {cause}"
    return RayTaskError("train", text, cause, "ray::x", 1, "10.0.0.1")


LACKING = (
    "The actor with name ImplicitFunc failed to import on the worker. This may be because …:\n\n"
    "Traceback (most recent call last):\n  …\nModuleNotFoundError: No module named 'orchestrator'"
)
UNLOADED = RayTaskError(
    "train", f"ray::x() (pid=7, ip=10.0.0.1)\n{LACKING}", RuntimeError(LACKING), "ray::x", 1
)
CRASHED = f"{LACKING}\n\nAn unexpected internal error occurred while the worker was …"
LOST = "The actor died because its node has died. Node Id: 8f2c"
LOW = "1 worker(s) were killed due to the node running low on memory. Memory\nOOM kill reason: x"


def kept(error: Exception | None) -> str:
    """The text that Tune keeps of an error of Ray's."""
    return f"Failure # 1 (occurred at 2020-04-26_12-00-00)\n{error}\n" if error else ""


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OutOfMemoryError(LOW), "evicted", "running low on memory. Memory"),
        (NodeDiedError(LOST), "node", "its node was lost"),
        (RayActorError(error_msg=LOST), "node", "its node was lost"),
        (ActorDiedError(), "killed", "killed by a signal"),
        (WorkerCrashedError(), "killed", "or it crashed"),
        (None, "killed", "killed by a signal"),
        (raised(ValueError("odd")), "error", "ValueError: odd"),
        (UNLOADED, "unfit", "node 10.0.0.1: it can't load nas-sweep: ModuleNotFoundError: No"),
        (ActorDiedError(UNLOADED), "unfit", "10.0.0.1: it can't load nas-sweep: ModuleNotFound"),
        (
            RayActorError(error_msg=CRASHED),
            "unfit",
            "a node: it can't load nas-sweep: ModuleNotFound",
        ),
        (raised(MemoryError("no more")), "memory", "no more"),
        (raised(RuntimeError("CUDA error: an illegal access")), "cuda", "an illegal access"),
        (raised(torch.cuda.OutOfMemoryError("CUDA out of memory")), "memory", "out of memory"),
        (raised(StoreError("read-only", where="results")), "store", "results: read-only"),
        (raised(UnicodeDecodeError("utf-8", b"x", 0, 1, "odd")), "error", "UnicodeDecodeError: "),
        (raised(MachineError("no GPU", fix="add one")), "machine", "no GPU\n  add one"),
        (raised(StoreFull("no room", where="results")), "full", "results: no room"),
        (
            ActorDiedError(raised(ImportError("No module named 'workers'"))),
            "error",
            "its worker could not begin: ImportError: No module named 'workers'",
        ),
    ],
)
def test_deaths_are_told_apart(error: Exception | None, kind: str, says: str):
    failure = classify(kept(error))
    assert failure.kind == kind
    assert says in failure.message
    assert "Traceback" not in failure.message


def test_only_what_may_pass_is_tried_again():
    passing = {classify(kept(e)).kind for e in (OutOfMemoryError(LOW), NodeDiedError(LOST), None)}
    assert passing <= PASSING
    assert classify(kept(raised(ValueError("odd")))).kind not in PASSING
    assert ATTEMPTS > 1
