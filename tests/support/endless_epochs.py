"""`python -m workers.train` with epochs that never end: their batches come again and again.

python endless_epochs.py ARGUMENTS
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from typing import Any

from workers import train
from workers.training import epoch

_batches = epoch.training_batches


def _endless(*arguments: Any) -> Iterator[Any]:
    return itertools.cycle(list(_batches(*arguments)))


if __name__ == "__main__":
    epoch.training_batches = _endless
    sys.exit(train.main())
