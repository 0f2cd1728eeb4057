"""SIGINT, SIGTERM and SIGHUP in a process that trains one trial: first ask, then insist."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import sys
from collections.abc import Iterator
from types import FrameType

from workers.training.attempt import StopRequest

GRACE = 5.0
"""Seconds between asking and insisting. A worker that is asked stops within one or two; whoever
preempts a machine gives ten in all, of which Ray's own end takes some."""

_NOTICE = (
    b"stopping: the running epoch is dropped, those before it are committed; "
    b"again to stop at once\n"
)


@contextlib.contextmanager
def stoppable() -> Iterator[StopRequest]:
    """Let the first signal within this context only make the request that it yields.

    Raises:
        KeyboardInterrupt: At a second signal, or when `GRACE` seconds have passed since the first.
    """
    asked, request = False, StopRequest()

    def handle(signum: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        request.make(f"this process received {signal.Signals(signum).name}")
        if signum == signal.SIGHUP:
            leave_terminal()
        os.write(2, _NOTICE)  # a print could interrupt another one half-way
        # The alarm is one of the signals watched, so it arrives here as the second one.
        signal.setitimer(signal.ITIMER_REAL, GRACE)

    watched = [signal.SIGINT, signal.SIGTERM, signal.SIGALRM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
        watched.append(signal.SIGHUP)
    before = {each: signal.signal(each, handle) for each in watched}
    try:
        yield request
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for signum, handler in before.items():
            signal.signal(signum, handler)


def leave_terminal() -> None:
    """Discard further output to a terminal, where writing fails once it is closed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            if stat.S_ISCHR(os.fstat(stream.fileno()).st_mode):  # isatty() fails on a closed one
                os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
