"""On a command's PYTHONPATH, lets a test hold its workers before an epoch.

A sweep that is to be disturbed must not end first, however quick the machine is, or however slow
the test. The file that `HELD_AFTER` names holds the last epoch that may begin; without it all may.
"""

import importlib.util
import os
import sys
import time
from pathlib import Path
from typing import Any

PACED = "workers.training.trial"
FILE = Path(os.environ.get("HELD_AFTER", ""))


def last() -> float:
    try:
        return int(FILE.read_text())
    except (OSError, ValueError):
        return float("inf")


class _Finder:
    """Wraps one module when it is imported."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != PACED:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def execute(module: Any) -> None:
            run(module)
            batches = module.training_batches

            def paced(data: Any, size: int, seed: int, number: int, *more: Any) -> Any:
                while number > last():
                    time.sleep(0.02)
                return batches(data, size, seed, number, *more)

            module.training_batches = paced

        spec.loader.exec_module = execute
        return spec


sys.meta_path.insert(0, _Finder())
