"""What every test starts from: one thread, no telemetry, the same examples each time.

And how `pytest -n 2` divides the tests: file by file, those that may take longest first. A file
stays in one process, as what its tests share is made once. Without the order one process would end
with a file of whole sweeps while the other has nothing left to do.
"""

import os
import signal
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from results_schema import plugins
from results_schema.store import LocalStore, open_store

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


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """By the longest time that a test of the file may take, of those that are not deselected."""
    longest: dict[Path, float] = defaultdict(float)
    for item in items:
        if marker := item.get_closest_marker("timeout"):
            longest[item.path] = max(longest[item.path], float(marker.args[0]))
    items.sort(key=lambda item: -longest[item.path])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from xdist.scheduler import LoadFileScheduling

    # Else those with most tests come first, which are over in no time.
    config.option.loadscopereorder = False
    return LoadFileScheduling(config, log)


@pytest.fixture
def own_plugins() -> Iterator[None]:
    """No plug-in is loaded, and none stays so."""
    before = {kind: dict(one) for kind, one in plugins.REGISTRIES.items()}
    loaded = dict(plugins.LOADED)
    plugins.LOADED.clear()
    yield
    for kind, one in plugins.REGISTRIES.items():
        one.clear()
        one.update(before.get(kind, {}))
    plugins.LOADED.clear()
    plugins.LOADED.update(loaded)


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """An empty store."""
    return open_store(tmp_path / "results")
