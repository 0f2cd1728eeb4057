"""Why an item's worker could not say how it went, told from the error that Ray raises for it."""

from __future__ import annotations

import re

from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError

from results_schema.errors import MachineError
from results_schema.failure import Failure
from workers.training import failures

LOST_NODE = "its node has died"
"""In the text of Ray's error for an actor, where the type does not tell."""
LACKING = "failed to import on the worker"
"""In the text of the error that takes the place of a worker which could not be loaded."""
_NAMED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): .*$", re.MULTILINE)
_INSTALL = (
    "install nas-sweep on every node, or add --ship-code, which sends it along (docs/cluster.md)"
)


def classify(error: BaseException | None) -> Failure:
    """Tells a lost node, an eviction, an error of the code and a killed worker apart.

    Args:
        error: Ray's, or None if it is unknown.
    """
    if isinstance(error, OutOfMemoryError):
        said = str(error).split("OOM kill reason")[0].strip()
        return Failure("evicted", f"Ray ended its worker, as main memory ran out: {said}")
    preempted = isinstance(error, RayActorError) and error.preempted
    if isinstance(error, NodeDiedError) or preempted or LOST_NODE in str(error):
        return Failure("node", "its node was lost: shut down, preempted, or cut off from the head")
    if error is not None and LACKING in str(error):
        where = f"node {error.ip}" if isinstance(error, RayTaskError) else "a node"
        lacks = f"it can't load nas-sweep: {_last_error(error)}"
        return Failure("unfit", str(MachineError(lacks, where=where, fix=_INSTALL)))
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, Exception):
            return failures.classify(error.cause)
        return Failure("error", _last_line(error))
    if isinstance(error, RayActorError) and error.actor_init_failed:
        return Failure("error", f"its worker could not begin: {_last_line(error)}")
    return Failure(
        "killed",
        "its worker was killed by a signal (as the system does when main memory runs out), or "
        "it crashed",
    )


def _last_error(error: BaseException) -> str:
    """The last error that its text names; Ray may add a remark of its own behind it."""
    named = _NAMED.findall(str(error))
    return named[-1] if named else _last_line(error)


def _last_line(error: BaseException) -> str:
    """What a traceback ends with."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()
