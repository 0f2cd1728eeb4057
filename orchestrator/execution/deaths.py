"""Why an item's worker could not say how it went, by the text of the error that Ray raises for it.

Tune keeps that text in a file. It also pickles some errors, in Ray's folder, where other users of a
cluster's machine may be able to put a file of their own: those are never read.
"""

from __future__ import annotations

import builtins
import re

from results_schema import errors
from results_schema.errors import MachineError
from results_schema.store import Failure
from workers.training import attempt

LOST_NODE = "its node has died"
"""In the error for an actor on a node that was lost."""
LACKING = "failed to import on the worker"
"""In the error that takes the place of a worker which could not be loaded."""
LOW_MEMORY = "due to the node running low on memory"
"""In the error for a worker that Ray has killed to free main memory."""
INIT = "error raised in its creation task"
"""In the error for an actor that could not begin."""
_INSTALL = (
    "install nas-sweep on every node, or add --ship-code, which sends it along (docs/cluster.md)"
)
_HEADER = re.compile(r"\AFailure # \d+ \(occurred at [^)]*\)\n")
"""What Tune puts before the text."""
_COLOR = re.compile(r"\x1b\[\d+m")
_NODE = re.compile(r"\(pid=\d+, ip=([^,)]+)")
_OWN = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type)}
_NAMED = re.compile(
    rf"^(?:\w+\.)*(?P<name>\w*(?:Error|Exception)|{'|'.join(_OWN)}): (?P<message>.*(?:\n  .*)*)$",
    re.MULTILINE,
)
"""The end of a traceback; an error of this package goes on with an indented line on its fix."""
_TORCH = {"OutOfMemoryError": MemoryError, "AcceleratorError": RuntimeError}


def classify(error: str) -> Failure:
    """Return what kind of failure it is: a lost node, an eviction, an error or a killed worker.

    Args:
        error: The text that Tune keeps, empty if it is unknown.
    """
    text = _COLOR.sub("", _HEADER.sub("", error)).strip()
    if LOW_MEMORY in text:
        low = " ".join(text.split("OOM kill reason")[0].split())
        return Failure("evicted", f"Ray ended its worker, as main memory ran out: {low}")
    if LOST_NODE in text:
        return Failure("node", "its node was lost: shut down, preempted, or cut off from the head")
    raised = next(reversed([*_NAMED.finditer(text)]), None)
    if LACKING in text:
        node = _NODE.search(text)
        lacks = raised[0].strip() if raised else text.splitlines()[-1].strip()
        where = f"node {node[1]}" if node else "a node"
        problem = MachineError(f"it can't load nas-sweep: {lacks}", where=where, fix=_INSTALL)
        return Failure("unfit", str(problem))
    if raised:
        failure = _of(raised["name"], raised["message"])
        if INIT in text:
            return Failure(failure.kind, f"its worker could not begin: {failure.message}")
        return failure
    return Failure(
        "killed",
        "its worker was killed by a signal (as the system does when main memory runs out), or "
        "it crashed",
    )


def _of(name: str, message: str) -> Failure:
    """Return the failure by an error of this type; any that is unknown here is just an error."""
    if name in _OWN:
        return attempt.classify(_OWN[name](message))
    kind = getattr(builtins, name, None) or _TORCH.get(name)
    if not (isinstance(kind, type) and issubclass(kind, Exception)):
        kind = Exception
    try:
        failure = attempt.classify(kind(message))
    except TypeError:  # such as UnicodeDecodeError, which takes more
        failure = attempt.classify(Exception(message))
    return Failure(failure.kind, f"{name}: {message}")
