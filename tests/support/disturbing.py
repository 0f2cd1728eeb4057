"""Real launches to be disturbed: held open, watched for the moment, and left to go on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config.experiment import load_experiment
from results_schema import layout
from results_schema.store import LocalStore, Store

OPTIONS = ("--device", "cpu", "--checkpoint-every", "0.4")


@contextlib.contextmanager
def held_open(experiment: Path, store: LocalStore, *, surface: bool = False) -> Iterator[None]:
    """Keeps a launch from ending before it is disturbed: its last item waits for this lease."""
    loaded = load_experiment(experiment)
    last = loaded.surfaces()[-1].surface_id if surface else loaded.members()[-1].spec.trial_id
    lease = store.leases.take(last)
    assert lease is not None
    with lease:
        yield


def foreign(store: Store) -> list[int]:
    """Processes that work on a trial or a surface and still run, but for this one."""
    held = store.leases.held().items()
    holders = [holder for item, holder in held if layout.is_id(item)]
    return [h.pid for h in holders if h.pid and h.pid != os.getpid() and not h.dead]
