import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest
import torch

from results_schema import layout, tables
from results_schema.lease import Lease
from results_schema.store import LocalStore
from workers.training import device
from workers.training.device import checkout
from workers.training.trial import count_attempt

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    checkout.cache_clear()
    yield
    checkout.cache_clear()


@pytest.fixture
def lease(store: LocalStore) -> Iterator[Lease]:
    lease = store.leases.take("t1")
    assert lease is not None
    with lease:
        yield lease


def test_it_names_the_machine_and_the_versions():
    found = device.provenance(CPU)
    assert found["torch"] == torch.__version__
    assert found["python"] == sys.version.split()[0]
    assert found["threads"] == torch.get_num_threads()
    assert found["device"] == device.name(CPU) != ""
    assert set(found) < {field.name for field in tables.TRIALS}


def git(folder: Path, *words: str) -> str:
    ran = subprocess.run(
        ["git", "-c", "user.name=x", "-c", "user.email=x@y", "-C", str(folder), *words],
        check=True,
        capture_output=True,
        text=True,
    )
    return ran.stdout.strip()


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A source tree with this module's file in its place."""
    root = tmp_path / "source"
    (root / "workers" / "training").mkdir(parents=True)
    (root / "pyproject.toml").write_text("")
    monkeypatch.setattr(device, "_ROOT", root)
    return root


def test_a_checkout_is_named_by_its_commit_and_whether_it_was_changed(source: Path):
    git(source, "init", "-q")
    git(source, "add", ".")
    git(source, "commit", "-q", "-m", "first")
    commit = git(source, "rev-parse", "HEAD")
    assert checkout() == (commit, False)
    checkout.cache_clear()
    (source / "results").mkdir()
    (source / "results" / "untracked").write_text("")
    assert checkout() == (commit, False)
    checkout.cache_clear()
    (source / "pyproject.toml").write_text("changed")
    assert checkout() == (commit, True)


def test_without_a_checkout_or_git_the_commit_is_unknown(
    source: Path, monkeypatch: pytest.MonkeyPatch
):
    assert checkout() == (None, None)
    checkout.cache_clear()
    monkeypatch.setenv("PATH", "")
    assert checkout() == (None, None)
    checkout.cache_clear()
    (source / "pyproject.toml").unlink()
    assert checkout() == (None, None)


def test_code_that_was_sent_tells_where_it_came_from(source: Path):
    told = {"release": "7.0", "commit": "1234", "dirty": True}
    (source / device.SHIPPED).write_text(json.dumps(told))
    assert device.code_origin() == told
    assert device.provenance(CPU).items() >= told.items()


def test_attempts_are_counted_from_the_first(store: LocalStore, lease: Lease):
    before = datetime.now(UTC)
    first, second = (count_attempt(store, lease, "t1", 9) for _ in range(2))
    assert (first["attempts"], second["attempts"]) == (1, 2)
    assert before <= first["started_at"] == second["started_at"] <= datetime.now(UTC)


@pytest.mark.parametrize("text", [b"", b"{}", b'{"attempts": 3}', b"[]", b'{"attempts": "x"}'])
def test_a_damaged_count_begins_anew(store: LocalStore, lease: Lease, text: bytes):
    store.put(layout.attempts("t1"), text)
    assert count_attempt(store, lease, "t1", 9)["attempts"] == 1


@pytest.mark.parametrize("running", [True, False])
def test_rays_version_is_told_if_ray_is_there(monkeypatch: pytest.MonkeyPatch, running: bool):
    if running:
        monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    else:
        monkeypatch.delitem(sys.modules, "ray", raising=False)
    installed = {package.name: package.version for package in metadata.distributions()}
    assert device.provenance(CPU)["ray"] == (installed.get("ray") if running else None)
