"""Rules that hold for every file: short sources, safe calls, no trace of one machine, pins."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("nas_sweep", "orchestrator", "results_schema", "workers")
LONGEST = 600

MACHINE = re.compile(
    r"(?<![\w.-])/(?:home|root|work|Users|tmp)/\w"
    r"|pypi\.org|pythonhosted\.org|npmjs\.(?:com|org)|deb\.debian\.org|download\.pytorch\.org"
)
UNSAFE = re.compile(
    r"(?<![\w.])torch\.load\((?!.*weights_only=True)|allow_pickle=True"
    r"|(joblib|cloudpickle)\.loads?\("
)
"""Calls that run what a file says, beside those that ruff refuses."""


def files(*suffixes: str) -> list[Path]:
    """Every file of the checkout that git tracks or would add, with one of the suffixes if any."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode:
        pytest.skip("these are rules for a checkout, and here is none")
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [p for p in paths if p.is_file() and (not suffixes or p.suffix in suffixes)]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_no_file_names_a_machines_paths_or_a_registry():
    # An image's own paths are the image's, not this machine's.
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in files()
        if not name_of(path).startswith("docker/") and b"\0" not in path.read_bytes()
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1)
        if MACHINE.search(line)
    ]
    assert not found
    assert not [name_of(path) for path in files() if path.name == "uv.lock"]


def test_sources_are_short():
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in files(".py", ".sh")}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}
    assert not [name for name in lengths if re.match(r"tests/.*__init__\.py$", name)]


def test_no_source_makes_an_unsafe_call():
    sources = [path for path in files(".py") if path != Path(__file__)]
    assert not [name_of(path) for path in sources if UNSAFE.search(path.read_text())]


def test_what_lies_beside_the_sources_is_packaged():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]
    packaged = {
        path
        for name, globs in patterns.items()
        for glob in globs
        for path in (ROOT / name).glob(glob)
    }
    beside = {
        path for path in files() if name_of(path).split("/")[0] in PACKAGES and path.suffix != ".py"
    }
    assert not {name_of(path) for path in beside - packaged}


def test_both_lists_of_pins_are_equal():
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert pins == PROJECT["tool"]["uv"]["constraint-dependencies"], (
        "run `uv run python .ci/pin.py`"
    )
    assert all(re.match(r"[a-z0-9-]+==[\w.]+( ; |$)", pin) for pin in pins)


def test_every_direct_dependency_is_pinned():
    asked = PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["dev"]
    names = {re.split(r"[\[<>=~! ]", line)[0].lower().replace(".", "-") for line in asked}
    pins = {line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()}
    assert names - pins == set(), "run `uv run python .ci/pin.py`"
