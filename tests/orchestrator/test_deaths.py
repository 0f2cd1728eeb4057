"""Deaths of workers told apart, by the errors that Ray raises for them."""

import pytest
from ray.exceptions import (
    ActorDiedError,
    NodeDiedError,
    OutOfMemoryError,
    RayActorError,
    RayTaskError,
    WorkerCrashedError,
)

from orchestrator.deaths import classify
from orchestrator.queue import ATTEMPTS, PASSING
from results_schema.errors import MachineError, StoreFull


def raised(cause: Exception) -> RayTaskError:
    """What Ray makes of an exception in a worker."""
    return RayTaskError("train", f"Traceback\n  File x\n{cause!r}", cause, "ray::x", 1, "10.0.0.1")


LACKING = (
    "The actor with name ImplicitFunc failed to import on the worker. This may be because …:\n\n"
    "Traceback (most recent call last):\n  …\nModuleNotFoundError: No module named 'orchestrator'"
)
UNLOADED = RayTaskError("train", LACKING, RuntimeError(LACKING), "ray::x", 1, "10.0.0.1")
CRASHED = f"{LACKING}\n\nAn unexpected internal error occurred while the worker was …"
LOST = "The actor died because its node has died. Node Id: 8f2c"


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (OutOfMemoryError("1 worker was killed: low memory\nOOM kill reason: x"), "evicted", "low"),
        (NodeDiedError("gone"), "node", "its node was lost"),
        (RayActorError(error_msg=LOST), "node", "its node was lost"),
        (RayActorError(preempted=True), "node", "preempted"),
        (ActorDiedError(), "killed", "killed by a signal"),
        (WorkerCrashedError(), "killed", "or it crashed"),
        (None, "killed", "killed by a signal"),
        (raised(ValueError("odd")), "error", "ValueError: odd"),
        (UNLOADED, "unfit", "node 10.0.0.1: it can't load nas-sweep: ModuleNotFoundError: No"),
        (ActorDiedError(UNLOADED), "unfit", "a node: it can't load nas-sweep: ModuleNotFound"),
        (RayActorError(error_msg=CRASHED), "unfit", "it can't load nas-sweep: ModuleNotFound"),
        (raised(MemoryError("no more")), "memory", "no more"),
        (raised(MachineError("no GPU", fix="add one")), "machine", "no GPU\n  add one"),
        (raised(StoreFull("no room", where="results")), "full", "results: no room"),
        (
            ActorDiedError(raised(ImportError("No module named 'workers'"))),
            "error",
            "it could not begin: ImportError(\"No module named 'workers'\")".removeprefix("it "),
        ),
    ],
)
def test_deaths_are_told_apart(error: Exception | None, kind: str, says: str):
    failure = classify(error)
    assert failure.kind == kind
    assert says in failure.message
    assert "Traceback" not in failure.message


def test_only_what_may_pass_is_tried_again():
    passing = {classify(e).kind for e in (OutOfMemoryError("x"), NodeDiedError("x"), None)}
    assert passing <= PASSING
    assert classify(raised(ValueError("odd"))).kind not in PASSING
    assert ATTEMPTS > 1
