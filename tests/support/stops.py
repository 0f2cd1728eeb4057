"""Requests to stop that come at a moment of the work, whatever the machine's speed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from workers.training.attempt import StopRequest
from workers.training.checkpoint import Row

REASON = "the test asks for it"


class StopAtLook(StopRequest):
    """Made when the work looks at it for the n-th time: before it begins, and before each batch."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number

    @property
    def made(self) -> bool:
        """Counts the looks."""
        self.left -= 1
        if self.left <= 0:
            self.make(REASON)
        return self.left <= 0


def wait_until_made(request: StopRequest) -> None:
    """Waits in a step of the work, while another thread is to ask for its end."""
    end = time.monotonic() + 60
    while not request.made:
        assert time.monotonic() < end, "nobody has asked"
        time.sleep(0.005)


def after_epoch(epoch: int, then: Callable[[Row], object] = lambda row: None) -> dict[str, Any]:
    """Arguments of `train` that stop it once an epoch's row is published.

    Args:
        epoch: From 1.
        then: Called with each published row, too.
    """
    stop = StopRequest()

    def on_epoch(row: Row) -> None:
        then(row)
        if row["epoch"] == epoch:
            stop.make(REASON)

    return {"stop": stop, "on_epoch": on_epoch}
