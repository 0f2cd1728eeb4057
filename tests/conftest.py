"""What every test starts from: one thread, no telemetry, the same examples each time."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from results_schema.store import LocalStore, open_store

# Here, because a command may name any folder of tests, or none.
pytest_plugins = ["registries", "side_by_side"]

# Tests send these to processes that they start, which inherit what nohup or a shell ignores.
for _signum, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_signum) is signal.SIG_IGN:
        signal.signal(_signum, _handler)

# Bit-equality on a CPU is promised for one thread; child processes inherit this.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
# Sweeps start many processes, each of which would compile torch and Ray anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

settings.register_profile("house", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("house")


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store."""
    return open_store(tmp_path / "results")
