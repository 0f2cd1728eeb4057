"""`python -m workers.train` with an epoch that never ends: its batches come again and again.

A worker that is to be disturbed can't end before, whatever the machine's speed.

ENDLESS_FROM=EPOCH python endless_epochs.py ARGUMENTS
"""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from workers import train
from workers.training import trial

VARIABLE = "ENDLESS_FROM"


@contextmanager
def endless_from(first: int) -> Iterator[None]:
    """Within it no epoch of any trial ends, from this one on."""
    whole = trial.training_batches

    def batches(data: Any, size: int, seed: int, number: int, *more: Any) -> Any:
        found = whole(data, size, seed, number, *more)
        return itertools.cycle(list(found)) if number >= first else found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "training_batches", batches)
        yield


if __name__ == "__main__":
    with endless_from(int(os.environ.get(VARIABLE, "1"))):
        code = train.main()
    sys.exit(code)
